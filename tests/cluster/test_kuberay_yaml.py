"""cluster/kuberay.yaml: understood by Kubernetes and KubeRay, and safe.

Pods, the volume claim and the network policy are held against the schemas that Kubernetes
publishes. KubeRay's own are not to be had offline: for what lies around the pods the check is one
of ours, by the field names of its API reference.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

Tree = dict[str, Any]

ROOT = Path(__file__).parents[2]
KUBERNETES = "1.31"

# Of `ray.io/v1`, those that this file may have need of.
JOB = {
    "activeDeadlineSeconds", "backoffLimit", "entrypoint", "entrypointNumCpus", "rayClusterSpec",
    "shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate",
    "ttlSecondsAfterFinished",
}  # fmt: skip
CLUSTER = {
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion",
    "workerGroupSpecs",
}  # fmt: skip
AUTOSCALER = {
    "env", "idleTimeoutSeconds", "imagePullPolicy", "resources", "securityContext",
    "upscalingMode", "volumeMounts",
}  # fmt: skip
HEAD = {"rayStartParams", "serviceType", "template"}
WORKERS = {"groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas",
           "template"}  # fmt: skip


@pytest.fixture
def manifest() -> dict[str, Tree]:
    """The documents by kind; placeholders filled in."""
    text = (ROOT / "cluster" / "kuberay.yaml").read_text().replace("FILL-IN", "lab")
    return {document["kind"]: copy.deepcopy(document) for document in yaml.safe_load_all(text)}


def groups(manifest: dict[str, Tree]) -> tuple[Tree, list[Tree]]:
    """Head and workers."""
    cluster = manifest["RayJob"]["spec"]["rayClusterSpec"]
    return cluster["headGroupSpec"], cluster["workerGroupSpecs"]


def templates(manifest: dict[str, Tree]) -> dict[str, Tree]:
    """Pod templates: of the submitter, the head, and each group of workers."""
    head, workers = groups(manifest)
    named = {group["groupName"]: group["template"] for group in workers}
    submitter = manifest["RayJob"]["spec"]["submitterPodTemplate"]
    return {"submitter": submitter, "head": head["template"], **named}


def containers(manifest: dict[str, Tree]) -> Iterator[Tree]:
    for template in templates(manifest).values():
        yield from template["spec"]["containers"]
    yield manifest["RayJob"]["spec"]["rayClusterSpec"]["autoscalerOptions"]


def mistakes(manifest: dict[str, Tree]) -> list[str]:
    """Everything that Kubernetes or KubeRay would not understand."""
    found: list[str] = []
    plain = [document for kind, document in manifest.items() if kind != "RayJob"]
    pods = [{"apiVersion": "v1", "kind": "Pod", **t} for t in templates(manifest).values()]
    for document in (*plain, *pods):
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{document['kind']}: {error.message}")
    spec = manifest["RayJob"]["spec"]
    cluster = spec["rayClusterSpec"]
    head, workers = groups(manifest)
    for where, given, known in (
        ("spec", spec, JOB),
        ("rayClusterSpec", cluster, CLUSTER),
        ("autoscalerOptions", cluster["autoscalerOptions"], AUTOSCALER),
        ("headGroupSpec", head, HEAD),
        *((group["groupName"], group, WORKERS) for group in workers),
    ):
        found.extend(f"{where}.{key}" for key in given.keys() - known)
    for group in (head, *workers):
        params = group["rayStartParams"].items()
        found.extend(f"{key}: no text" for key, value in params if not isinstance(value, str))
    return found


def misspell_the_pod(manifest: dict[str, Tree]) -> None:
    templates(manifest)["head"]["spec"]["securityContex"] = {}


def mistype_a_port(manifest: dict[str, Tree]) -> None:
    manifest["NetworkPolicy"]["spec"]["ingress"][1]["ports"][0]["port"] = [8265]


def misspell_the_group(manifest: dict[str, Tree]) -> None:
    groups(manifest)[1][0]["maxReplica"] = 8


def misspell_the_token(manifest: dict[str, Tree]) -> None:
    manifest["RayJob"]["spec"]["rayClusterSpec"]["authOption"] = {"mode": "token"}


def give_a_number(manifest: dict[str, Tree]) -> None:
    groups(manifest)[0]["rayStartParams"]["num-cpus"] = 0


def test_the_file_is_understood(manifest: dict[str, Tree]) -> None:
    assert mistakes(manifest) == []


@pytest.mark.parametrize(
    "spoil",
    [misspell_the_pod, mistype_a_port, misspell_the_group, misspell_the_token, give_a_number],
)
def test_the_check_sees(
    manifest: dict[str, Tree], spoil: Callable[[dict[str, Tree]], None]
) -> None:
    spoil(manifest)
    assert len(mistakes(manifest)) == 1


def test_pods_pass_the_restricted_standard_and_write_only_to_their_volumes(
    manifest: dict[str, Tree],
) -> None:
    """The Pod Security Standard `restricted`, and a root file system that cannot be written."""
    for template in templates(manifest).values():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        kinds = {kind for volume in pod["volumes"] for kind in volume.keys() - {"name"}}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "configMap"}
    for container in containers(manifest):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"/tmp", "/home/tamt"} <= {m["mountPath"] for m in container["volumeMounts"]}


def test_only_the_autoscaler_beside_the_head_has_a_token_of_kubernetes(
    manifest: dict[str, Tree],
) -> None:
    pods = {name: template["spec"] for name, template in templates(manifest).items()}
    assert "automountServiceAccountToken" not in pods.pop("head")
    assert all(pod["automountServiceAccountToken"] is False for pod in pods.values())


def test_nothing_is_reachable_without_rays_token(manifest: dict[str, Tree]) -> None:
    assert manifest["RayJob"]["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert groups(manifest)[0]["serviceType"] == "ClusterIP"
    assert manifest.keys() == {"PersistentVolumeClaim", "NetworkPolicy", "RayJob"}
    text = (ROOT / "cluster" / "kuberay.yaml").read_text()
    assert not any(word in text for word in ("LoadBalancer", "NodePort", "kind: Ingress"))
    chosen = manifest["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    for template in templates(manifest).values():
        assert chosen.items() <= template["metadata"]["labels"].items()


def test_resources_are_stated_and_the_head_takes_no_work(manifest: dict[str, Tree]) -> None:
    for container in containers(manifest):
        assert container["resources"].keys() == {"requests", "limits"}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
    head, (workers,) = groups(manifest)
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")
    assert (workers["minReplicas"], workers["replicas"]) == (0, 0)
    assert workers["maxReplicas"] > 0


def test_workers_have_mps_while_their_pods_live(manifest: dict[str, Tree]) -> None:
    """Its daemon is a process of the container: nobody else on the node reaches it."""
    head, (workers,) = groups(manifest)
    (container,) = workers["template"]["spec"]["containers"]
    commands = {name: hook["exec"]["command"] for name, hook in container["lifecycle"].items()}
    assert {name: command[:2] for name, command in commands.items()} == {
        "postStart": ["sh", "-c"], "preStop": ["sh", "-c"],
    }  # fmt: skip
    assert commands["postStart"][2].endswith("nvidia-cuda-mps-control -d || true")
    assert commands["preStop"][2] == "echo quit | nvidia-cuda-mps-control || true"
    pod = workers["template"]["spec"]
    assert not pod.get("hostIPC")
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert all("lifecycle" not in one for one in head["template"]["spec"]["containers"])
