"""cluster/iam/stack.json: no port and no right beyond what the cluster takes."""

import re

import pytest

from tests.cluster.aws import (
    Account,
    actions,
    as_list,
    load,
    node_configs,
    of_type,
    resolve,
    statements,
    template,
)


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


def test_stack_and_cluster_file_speak_of_the_same_cluster() -> None:
    config = load(Account())
    name = template()["Parameters"]["ClusterName"]["Default"]
    assert config["cluster_name"] == name
    profiles = of_type("AWS::IAM::InstanceProfile").values()
    made = {resolve(p["InstanceProfileName"], {"ClusterName": name}) for p in profiles}
    assert made == {n["IamInstanceProfile"]["Name"] for n in node_configs(config).values()}
