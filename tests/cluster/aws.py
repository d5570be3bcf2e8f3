"""cluster/gpu.yaml and cluster/iam/stack.json, read as the tests need them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
Tree = dict[str, Any]

ROOT = Path(__file__).parents[2]
GPU_YAML = ROOT / "cluster" / "gpu.yaml"
STACK_JSON = ROOT / "cluster" / "iam" / "stack.json"


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


def node_configs(config: Tree) -> dict[str, Tree]:
    return {name: kind["node_config"] for name, kind in config["available_node_types"].items()}


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
