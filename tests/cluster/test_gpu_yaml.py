"""cluster/gpu.yaml: accepted by Ray and by AWS's own models, and safe."""

import importlib.util
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import botocore.loaders
import botocore.model
import botocore.validate
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.aws import GPU_YAML, STACK_JSON, Account, Tree, load, node_configs

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


@pytest.fixture
def config() -> Tree:
    return load(Account())


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


def test_what_ray_writes_is_nobody_elses_to_read(config: Tree) -> None:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in config[key] if "ray start" in command]
        assert starts
        assert all(command.startswith("umask 077;") for command in starts)


def test_dashboard_and_mlflow_listen_on_loopback_only(config: Tree) -> None:
    commands = " ".join(config["head_start_ray_commands"])
    assert re.findall(r"--(?:dashboard-)?host[ =](\S+)", commands) == ["127.0.0.1", "127.0.0.1"]
    assert "mlflow server --host 127.0.0.1" in commands
    assert "--dashboard-host=127.0.0.1" in commands


def test_mlflow_stands_on_a_database_that_only_this_user_reaches(config: Tree) -> None:
    setup = "\n".join(config["head_setup_commands"])
    assert "listen_addresses = ''" in setup
    assert "createdb -O $(id -un) mlflow" in setup
    server = config["head_start_ray_commands"][0]
    assert "--backend-store-uri 'postgresql+psycopg2:///mlflow?host=/var/run/postgresql'" in server
    assert "--property=Restart=always" in server


def test_workers_offer_mps_to_nobody_else(config: Tree) -> None:
    assert not any("mps" in command for command in config["head_start_ray_commands"])
    (start,) = (one for one in config["worker_start_ray_commands"] if "mps-control -d" in one)
    assert start.startswith("umask 077;")


def test_every_worker_watches_for_the_spot_notice(config: Tree) -> None:
    watch = config["worker_start_ray_commands"][-1]
    module = re.findall(r"python -m ([\w.]+) --address \$RAY_HEAD_IP:6379", watch)
    assert [importlib.util.find_spec(name) is not None for name in module] == [True]
    assert "--property=Restart=on-failure" in watch
    assert "--setenv=RAY_AUTH_MODE=token" in watch
    assert not any("spot" in command for command in config["head_start_ray_commands"])


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
