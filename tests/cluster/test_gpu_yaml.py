"""cluster/gpu.yaml and the stack it stands on: accepted by Ray and AWS's models, and safe.

Nothing here leaves the machine: moto answers for AWS.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import boto3
import botocore.loaders
import botocore.model
import botocore.validate
import click
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws import config as ray_aws
from ray.autoscaler._private.aws import utils as ray_aws_utils
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

T = TypeVar("T")
Tree = dict[str, Any]

ROOT = Path(__file__).parents[2]
GPU_YAML = ROOT / "cluster" / "gpu.yaml"
STACK_JSON = ROOT / "cluster" / "iam" / "stack.json"

LAB = "203.0.113.0/28"
COMMAND_LISTS = (
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)

# What Ray 2.60 reads under `provider` for AWS, less `security_group`: whatever that lists, Ray adds
# ssh from 0.0.0.0/0 to it.
PROVIDER_KEYS = {
    "type",
    "region",
    "availability_zone",
    "cache_stopped_nodes",
    "use_internal_ips",
    "key_pair",
}


@dataclass(frozen=True)
class Account:
    """What the stack's outputs and the user's choices put into `metadata`."""

    cluster_group: str = "sg-0000000000000000a"
    ssh_group: str = "sg-0000000000000000b"
    image: str = "ami-00000000000000000"


def load(account: Account | None) -> Tree:
    """The cluster file as parsed; its placeholders filled in unless `account` is None."""
    text = GPU_YAML.read_text()
    if account is not None:
        text = (
            text.replace("&cluster_group sg-FILL-IN", f"&cluster_group {account.cluster_group}")
            .replace("&ssh_group sg-FILL-IN", f"&ssh_group {account.ssh_group}")
            .replace("ami-FILL-IN", account.image)
            .replace("TAMT_BUCKET=FILL-IN", "TAMT_BUCKET=lab-results")
        )
    return yaml.safe_load(text)


@pytest.fixture
def config() -> Tree:
    return load(Account())


def node_configs(config: Tree) -> dict[str, Tree]:
    return {name: kind["node_config"] for name, kind in config["available_node_types"].items()}


# --- The strict check: what Ray's schema lets through -------------------------------------------


@cache
def run_instances_shape() -> botocore.model.StructureShape:
    model = botocore.loaders.Loader().load_service_model("ec2", "service-2")
    operation = botocore.model.ServiceModel(model, "ec2").operation_model("RunInstances")
    assert operation.input_shape is not None
    return operation.input_shape


def wrong_enums(value: object, shape: botocore.model.Shape, where: str) -> Iterator[str]:
    """Values outside AWS's enumerations, which botocore itself does not compare."""
    match shape, value:
        case botocore.model.StructureShape(), dict():
            for key in value.keys() & shape.members.keys():
                yield from wrong_enums(value[key], shape.members[key], f"{where}.{key}")
        case botocore.model.ListShape(), list():
            for index, inner in enumerate(value):
                yield from wrong_enums(inner, shape.member, f"{where}[{index}]")
        case botocore.model.StringShape(), str() if shape.enum and value not in shape.enum:
            yield f"{where}: {value!r} is none of {shape.enum}"


def mistakes(config: Tree) -> list[str]:
    """Everything under `provider` and `node_config` that AWS or Ray would not understand."""
    found = [f"provider.{key}" for key in config["provider"] if key not in PROVIDER_KEYS]
    for name, node_config in node_configs(config).items():
        sent = {key: value for key, value in node_config.items() if key != "SubnetIds"}
        sent |= {"MinCount": 1, "MaxCount": 1}
        report = botocore.validate.ParamValidator().validate(sent, run_instances_shape())
        if report.has_errors():
            found.append(f"{name}: {report.generate_report()}")
        found.extend(wrong_enums(sent, run_instances_shape(), name))
    return found


def misspell_provider(config: Tree) -> None:
    config["provider"]["cache_stoped_nodes"] = config["provider"].pop("cache_stopped_nodes")


def let_ray_open_ssh_to_the_world(config: Tree) -> None:
    config["provider"]["security_group"] = {"GroupName": "lab", "IpPermissions": []}


def misspell_node_config(config: Tree) -> None:
    node_configs(config)["gpu_worker"]["InstanceMarketOption"] = {"MarketType": "spot"}


def misspell_nested(config: Tree) -> None:
    node_configs(config)["head"]["MetadataOptions"] = {"HttpToken": "required"}


def misspell_value(config: Tree) -> None:
    node_configs(config)["head"]["MetadataOptions"] = {"HttpTokens": "requierd"}


def mistype_disk(config: Tree) -> None:
    disk = {"VolumeSize": "150", "Encrypted": True}
    node_configs(config)["head"]["BlockDeviceMappings"] = [{"Ebs": disk}]


def test_rays_own_validation_accepts_the_file(config: Tree) -> None:
    validate_config(prepare_config(config))


def test_the_strict_check_accepts_the_file(config: Tree) -> None:
    assert mistakes(config) == []


@pytest.mark.parametrize(
    "spoil",
    [
        misspell_provider,
        let_ray_open_ssh_to_the_world,
        misspell_node_config,
        misspell_nested,
        misspell_value,
        mistype_disk,
    ],
)
def test_the_strict_check_sees_what_rays_schema_lets_through(
    config: Tree, spoil: Callable[[Tree], None]
) -> None:
    spoil(config)
    validate_config(prepare_config(config))
    assert len(mistakes(config)) == 1


# --- The file ------------------------------------------------------------------------------------


def test_head_is_on_demand_and_takes_no_work(config: Tree) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    assert "--num-cpus=0 --num-gpus=0" in config["head_start_ray_commands"][-1]


def test_workers_are_spot_from_none_to_a_bound(config: Tree) -> None:
    workers = [k for n, k in config["available_node_types"].items() if n != "head"]
    for worker in workers:
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert worker["min_workers"] == 0
        assert 0 < worker["max_workers"] <= config["max_workers"]
        assert worker["resources"]["GPU"] >= 1
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


def test_every_node_has_hardened_metadata_encrypted_disks_and_its_own_profile(
    config: Tree,
) -> None:
    nodes = node_configs(config)
    for node_config in nodes.values():
        assert node_config["MetadataOptions"]["HttpTokens"] == "required"
        assert node_config["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        disks = [mapping["Ebs"] for mapping in node_config["BlockDeviceMappings"]]
        assert disks
        assert all(disk["Encrypted"] is True and disk["VolumeType"] == "gp3" for disk in disks)
    profiles = {name: node["IamInstanceProfile"]["Name"] for name, node in nodes.items()}
    assert profiles == {"head": "tamt-head", "gpu_worker": "tamt-worker"}


def test_every_ray_command_demands_the_token(config: Tree) -> None:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        calls = re.findall(r"(\S+) ray (start|stop)\b", "\n".join(config[key]))
        assert {verb for _, verb in calls} == {"start", "stop"}
        assert {before for before, _ in calls} == {"RAY_AUTH_MODE=token"}
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"][0]


def test_dashboard_and_mlflow_listen_on_loopback_only(config: Tree) -> None:
    commands = " ".join(config["head_start_ray_commands"])
    assert re.findall(r"--(?:dashboard-)?host[ =](\S+)", commands) == ["127.0.0.1", "127.0.0.1"]
    assert "mlflow server --host 127.0.0.1" in commands
    assert "--dashboard-host=127.0.0.1" in commands


def test_commands_are_shell(config: Tree) -> None:
    for key in COMMAND_LISTS:
        for command in config[key]:
            check = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
            assert check.returncode == 0, f"{command}: {check.stderr}"


@pytest.mark.parametrize(("account", "accepted"), [(None, False), (Account(), True)])
def test_setup_stops_at_an_unfilled_bucket(
    tmp_path: Path, account: Account | None, accepted: bool
) -> None:
    commands = load(account)["setup_commands"]
    script = " && ".join(command for command in commands[1:3])
    assert "TAMT_BUCKET" in script
    run = subprocess.run(["bash", "-c", script], env={"HOME": str(tmp_path)}, check=False)
    assert (run.returncode == 0) is accepted


def test_mounts_exist_and_hold_what_the_install_needs(config: Tree) -> None:
    local = {path for path in config["file_mounts"].values() if not path.startswith("~")}
    assert local == {"tamt_ray", "sweeps", "pyproject.toml", "README.md"}
    assert "." not in local


@pytest.mark.parametrize("path", [GPU_YAML, STACK_JSON], ids=lambda path: path.name)
def test_nothing_is_open_to_the_internet_and_nothing_is_secret(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"0\.0\.0\.0/0|::/0", text)
    assert not re.search(r"AKIA|BEGIN [A-Z ]*PRIVATE KEY|ami-0|sg-0", text)


# --- The stack -----------------------------------------------------------------------------------


def resolve(node: T, values: dict[str, str]) -> T:
    """`node` with Ref, GetAtt and Sub replaced by what CloudFormation would put there."""
    result: Any = node
    match result:
        case {"Ref": name}:
            result = values[name]
        case {"Fn::GetAtt": [name, attribute]}:
            result = values[f"{name}.{attribute}"]
        case {"Fn::Sub": text}:
            result = re.sub(r"\$\{([\w.:]+)\}", lambda hit: values[hit[1]], text)
        case dict():
            result = {key: resolve(inner, values) for key, inner in result.items()}
        case list():
            result = [resolve(inner, values) for inner in result]
    return result


def template() -> Tree:
    return json.loads(STACK_JSON.read_text())


def of_type(kind: str) -> dict[str, Tree]:
    resources = template()["Resources"].items()
    return {name: r["Properties"] for name, r in resources if r["Type"] == kind}


def as_list(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def statements(role: str) -> list[Tree]:
    inline = of_type("AWS::IAM::Role")[role].get("Policies", [])
    shared = of_type("AWS::IAM::ManagedPolicy")["StorePolicy"]
    documents = [policy["PolicyDocument"] for policy in [*inline, shared]]
    return [statement for document in documents for statement in document["Statement"]]


def actions(role: str, service: str) -> set[str]:
    every = [action for s in statements(role) for action in as_list(s["Action"])]
    return {a.split(":")[1] for a in every if a.startswith(f"{service}:")}


def test_only_ssh_from_the_lab_and_the_group_itself_come_in() -> None:
    groups = of_type("AWS::EC2::SecurityGroup")
    inline = [rule for group in groups.values() for rule in group.get("SecurityGroupIngress", [])]
    assert [(r["IpProtocol"], r["FromPort"], r["ToPort"], r["CidrIp"]) for r in inline] == [
        ("tcp", 22, 22, {"Ref": "SshCidr"})
    ]
    for rule in of_type("AWS::EC2::SecurityGroupIngress").values():
        assert rule["SourceSecurityGroupId"] == rule["GroupId"]
        assert "CidrIp" not in rule


@pytest.mark.parametrize(
    ("cidr", "allowed"),
    [
        ("203.0.113.7/32", True),
        ("10.20.0.0/16", True),
        ("0.0.0.0/0", False),
        ("203.0.113.7", False),
        ("128.0.0.0/1", False),
        ("10.0.0.0/8", False),
        ("300.0.113.7/32", False),
        ("FILL-IN", False),
        ("", False),
    ],
)
def test_ssh_range_must_be_somebodys_own(cidr: str, allowed: bool) -> None:
    pattern = template()["Parameters"]["SshCidr"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, cidr)) is allowed
    assert "Default" not in template()["Parameters"]["SshCidr"]


def test_roles_allow_nothing_by_wildcard() -> None:
    for role in ("HeadRole", "WorkerRole"):
        for statement in statements(role):
            assert statement["Effect"] == "Allow"
            assert not any("*" in action for action in as_list(statement["Action"]))
            if statement["Resource"] == "*":
                assert statement["Action"] == "ec2:DescribeInstances"  # AWS offers no narrower one
    assert actions("WorkerRole", "ec2") == set()
    assert actions("HeadRole", "iam") == {"PassRole"}


def test_stack_and_cluster_file_speak_of_the_same_cluster(config: Tree) -> None:
    name = template()["Parameters"]["ClusterName"]["Default"]
    assert config["cluster_name"] == name
    profiles = of_type("AWS::IAM::InstanceProfile").values()
    made = {resolve(p["InstanceProfileName"], {"ClusterName": name}) for p in profiles}
    assert made == {n["IamInstanceProfile"]["Name"] for n in node_configs(config).values()}


# --- Ray against a stand-in for AWS --------------------------------------------------------------


@dataclass
class Cloud:
    """An AWS account of moto's with the stack in it; `calls` holds what `record` was told."""

    ec2: Any
    account: Account
    calls: list[tuple[str, Tree]] = field(default_factory=list)

    def record(self, params: Tree, model: botocore.model.OperationModel, **_: object) -> None:
        self.calls.append((model.name, dict(params)))

    def groups(self) -> dict[str, Tree]:
        found = self.ec2.describe_security_groups()["SecurityGroups"]
        return {group["GroupId"]: group for group in found}

    def instances(self) -> list[Tree]:
        reservations = self.ec2.describe_instances()["Reservations"]
        return [instance for r in reservations for instance in r["Instances"]]


def forget_clients() -> None:
    for cached in (
        ray_aws_utils.resource_cache,
        ray_aws_utils.client_cache,
        ray_aws._get_subnets_or_die,
    ):
        cached.cache_clear()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its key pair to ~/.ssh
    forget_clients()
    with mock_aws():
        region = load(Account())["provider"]["region"]
        ec2, iam = boto3.client("ec2", region), boto3.client("iam", region)
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        values = {"VpcId": vpc, "SshCidr": LAB, "ClusterName": "tamt"}
        for name, group in of_type("AWS::EC2::SecurityGroup").items():
            made = ec2.create_security_group(
                GroupName=name, Description=group["GroupDescription"], VpcId=vpc
            )
            values[f"{name}.GroupId"] = made["GroupId"]
            for rule in resolve(group.get("SecurityGroupIngress", []), values):
                ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort")}
                ec2.authorize_security_group_ingress(
                    GroupId=made["GroupId"],
                    IpPermissions=[{**ports, "IpRanges": [{"CidrIp": rule["CidrIp"]}]}],
                )
        for rule in resolve(of_type("AWS::EC2::SecurityGroupIngress"), values).values():
            ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort")}
            pair = {"GroupId": rule["SourceSecurityGroupId"]}
            ec2.authorize_security_group_ingress(
                GroupId=rule["GroupId"], IpPermissions=[{**ports, "UserIdGroupPairs": [pair]}]
            )
        for profile in of_type("AWS::IAM::InstanceProfile").values():
            name = resolve(profile["InstanceProfileName"], values)
            iam.create_instance_profile(InstanceProfileName=name)
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        groups = values["ClusterGroup.GroupId"], values["SshGroup.GroupId"]
        yield Cloud(ec2, Account(*groups, image))
    forget_clients()


def bootstrap(config: Tree) -> Tree:
    prepared = prepare_config(config)
    validate_config(prepared)
    return AWSNodeProvider.bootstrap_config(prepared)


def test_ray_uses_the_stacks_groups_and_makes_none(cloud: Cloud) -> None:
    before = cloud.groups()
    resolved = node_configs(bootstrap(load(cloud.account)))
    assert cloud.groups() == before
    group, ssh = cloud.account.cluster_group, cloud.account.ssh_group
    assert resolved["head"]["SecurityGroupIds"] == [group, ssh]
    assert resolved["gpu_worker"]["SecurityGroupIds"] == [group]
    for identifier, expected in ((group, []), (ssh, [{"CidrIp": LAB}])):
        for permission in before[identifier]["IpPermissions"]:
            assert [{"CidrIp": r["CidrIp"]} for r in permission["IpRanges"]] == expected
            assert permission["Ipv6Ranges"] == []
            pairs = {pair["GroupId"] for pair in permission["UserIdGroupPairs"]}
            assert pairs == (set() if expected else {group})
            ports = (permission["IpProtocol"], permission["FromPort"], permission["ToPort"])
            assert ports == (("tcp", 22, 22) if expected else ("tcp", 0, 65535))


def test_an_unfilled_file_is_refused_before_anything_starts(cloud: Cloud) -> None:
    before = cloud.groups()
    with pytest.raises((AssertionError, click.ClickException)):
        bootstrap(load(None))
    assert cloud.groups() == before
    assert cloud.instances() == []


def test_a_workers_life_takes_exactly_the_heads_rights(cloud: Cloud) -> None:
    config = bootstrap(load(cloud.account))
    worker = config["available_node_types"]["gpu_worker"]["node_config"]
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for resource in (provider.ec2, provider.ec2_fail_fast):
        resource.meta.client.meta.events.register("before-parameter-build.ec2", cloud.record)

    provider.create_node(worker, {"ray-node-name": "w", "ray-node-type": "worker"}, 1)
    nodes = provider.non_terminated_nodes({})
    provider.set_node_tags(nodes[0], {"ray-node-status": "up-to-date"})
    provider.terminate_nodes(nodes)

    assert len(nodes) == 1
    assert {name for name, _ in cloud.calls} == actions("HeadRole", "ec2")
    (sent,) = [params for name, params in cloud.calls if name == "RunInstances"]
    assert sent["IamInstanceProfile"] == {"Name": "tamt-worker"}
    assert sent["MetadataOptions"]["HttpTokens"] == "required"
    assert sent["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert sent["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert sent["InstanceMarketOptions"]["MarketType"] == "spot"
    assert {"Key": "ray-cluster-name", "Value": "tamt"} in sent["TagSpecifications"][0]["Tags"]
    assert {i["State"]["Name"] for i in cloud.instances()} <= {"shutting-down", "terminated"}
