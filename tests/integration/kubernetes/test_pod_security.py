"""Pods keep to the level that their namespace enforces, and what the privileged ones need is counted."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from manifests import FOLDERS, Object, Rendering, render
from pod_security import violations

PRIVILEGED = {
    "node-wide": {
        "volume sockets: hostPath",
        "volume state: hostPath",
        "volume node-features: hostPath",
        "directories: runAsNonRoot",
        "directories: runAsUser 0",
        "directories: adds CHOWN",
    },
    "overlays/seccomp-install": {
        "volume profiles: hostPath",
        "copy: runAsNonRoot",
        "copy: runAsUser 0",
    },
    "overlays/node-wide-client-cuda-ipc": {"pod: hostPID"},
}
PRIVILEGED["overlays/node-wide"] = PRIVILEGED["overlays/node-wide-pod-monitor"] = PRIVILEGED["node-wide"]
PRIVILEGED["overlays/node-wide-cuda-ipc"] = PRIVILEGED["node-wide"] | {"pod: hostPID"}


def level(rendering: Rendering) -> str:
    (namespace,) = rendering.of_kind("Namespace")
    return str(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_are_admitted_by_their_namespace(folder: str) -> None:
    rendering = render(folder)
    assert rendering.pods()
    assert level(rendering) == ("privileged" if folder in PRIVILEGED else "restricted")
    for pod in rendering.pods():
        assert violations(level(rendering), pod.spec) == set()
        assert violations("restricted", pod.spec) == PRIVILEGED.get(folder, set()), "no more than it is said to need"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_container_may_write_to_its_image_or_talk_to_the_cluster(folder: str) -> None:
    for pod in render(folder).pods():
        assert pod.spec["automountServiceAccountToken"] is False
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, container["name"]


def _set(*path: str | int) -> Callable[[Object, object], None]:
    """Sets what is at `path` in a pod's spec."""

    def change(spec: Object, value: object) -> None:
        place = spec
        for key in path[:-1]:
            place = place.setdefault(key, {}) if isinstance(key, str) else place[key]
        place[path[-1]] = value

    return change


OWN = ("initContainers", 0, "securityContext")

BREACHES = [
    (_set("hostPID"), True, "baseline"),
    (_set("hostNetwork"), True, "baseline"),
    (_set("volumes"), [{"name": "v", "hostPath": {"path": "/"}}], "baseline"),
    (_set("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}], "baseline"),
    (_set("securityContext", "seccompProfile", "type"), "Unconfined", "baseline"),
    (_set(*OWN, "privileged"), True, "baseline"),
    (_set(*OWN, "procMount"), "Unmasked", "baseline"),
    (_set(*OWN, "capabilities", "add"), ["IPC_LOCK"], "baseline"),
    (_set(*OWN, "seLinuxOptions"), {"type": "spc_t"}, "baseline"),
    (_set("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}], "baseline"),
    (_set("containers", 0, "startupProbe", "httpGet", "host"), "169.254.169.254", "baseline"),
    (_set("volumes"), [{"name": "v", "nfs": {"server": "s", "path": "/"}}], "restricted"),
    (_set("securityContext", "runAsNonRoot"), None, "restricted"),
    (_set("securityContext", "runAsUser"), 0, "restricted"),
    (_set("securityContext"), {"runAsNonRoot": True}, "restricted"),
    (_set(*OWN, "runAsUser"), 0, "restricted"),
    (_set(*OWN, "runAsNonRoot"), False, "restricted"),
    (_set(*OWN, "allowPrivilegeEscalation"), None, "restricted"),
    (_set(*OWN, "capabilities"), {"drop": ["NET_RAW"]}, "restricted"),
    (_set(*OWN, "capabilities", "add"), ["CHOWN"], "restricted"),
]


@pytest.mark.parametrize(("change", "value", "lowest"), BREACHES)
def test_each_rule_finds_its_breach(change: Callable[[Object, object], None], value: object, lowest: str) -> None:
    spec = copy.deepcopy(render("base").pods()[0].spec)
    assert violations("restricted", spec) == set()
    change(spec, value)
    assert violations("restricted", spec)
    assert bool(violations("baseline", spec)) == (lowest == "baseline")
    assert violations("privileged", spec) == set()
