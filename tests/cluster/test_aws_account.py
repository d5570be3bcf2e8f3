"""cluster/gpu.yaml bootstrapped by Ray in an AWS account of moto's; nothing leaves the machine."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.model
import click
import pytest
from moto import mock_aws
from ray.autoscaler._private.aws import config as ray_aws
from ray.autoscaler._private.aws import utils as ray_aws_utils
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.aws import Account, Tree, actions, load, node_configs, of_type, resolve

LAB = "203.0.113.0/28"


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
