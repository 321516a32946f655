"""Kubernetes' Pod Security Standards, as functions
(https://kubernetes.io/docs/concepts/security/pod-security-standards/, of Linux pods, 1.37)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = Any  # of YAML

DEFAULT_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}  # fmt: skip
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def violations(level: str, spec: Object) -> set[str]:
    """What a pod does that the level does not allow, as `WHERE: WHAT`."""
    if level == "privileged":
        return set()
    found = set(_baseline(spec))
    if level == "restricted":
        found |= set(_restricted(spec))
    else:
        assert level == "baseline", level
    return found


def _containers(spec: Object) -> list[Object]:
    return [
        container
        for key in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(key) or []
    ]


def _contexts(spec: Object) -> Iterator[tuple[str, Object]]:
    yield "pod", spec.get("securityContext") or {}
    for container in _containers(spec):
        yield container["name"], container.get("securityContext") or {}


def _probe_hosts(container: Object) -> Iterator[str]:
    handlers = [container.get(key) or {} for key in ("startupProbe", "readinessProbe", "livenessProbe")]
    handlers += (container.get("lifecycle") or {}).values()
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            yield (handler.get(action) or {}).get("host") or ""


def _baseline(spec: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"pod: {field}"
    for volume in spec.get("volumes") or []:
        if "hostPath" in volume:
            yield f"volume {volume['name']}: hostPath"
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or []:
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"pod: sysctl {sysctl['name']}"
    for where, context in _contexts(spec):
        if context.get("privileged"):
            yield f"{where}: privileged"
        if (context.get("windowsOptions") or {}).get("hostProcess"):
            yield f"{where}: hostProcess"
        for name in (context.get("capabilities") or {}).get("add") or []:
            if name not in DEFAULT_CAPABILITIES:
                yield f"{where}: adds {name}"
        selinux = context.get("seLinuxOptions") or {}
        if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
            yield f"{where}: seLinuxOptions"
        if context.get("procMount", "Default") != "Default":
            yield f"{where}: procMount"
        for profile in ("appArmorProfile", "seccompProfile"):
            if (context.get(profile) or {}).get("type") == "Unconfined":
                yield f"{where}: {profile} Unconfined"
    for container in _containers(spec):
        if any(port.get("hostPort") for port in container.get("ports") or []):
            yield f"{container['name']}: hostPort"
        if any(_probe_hosts(container)):
            yield f"{container['name']}: host of a probe"


def _restricted(spec: Object) -> Iterator[str]:
    pod = spec.get("securityContext") or {}
    for volume in spec.get("volumes") or []:
        for kind in volume.keys() - {"name"} - RESTRICTED_VOLUMES:
            yield f"volume {volume['name']}: {kind}"
    if pod.get("runAsUser") == 0:
        yield "pod: runAsUser 0"
    for container in _containers(spec):
        name, own = container["name"], container.get("securityContext") or {}
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield f"{name}: runAsNonRoot"
        if own.get("runAsUser") == 0:
            yield f"{name}: runAsUser 0"
        if "seccompProfile" not in own and "seccompProfile" not in pod:
            yield f"{name}: no seccompProfile"
        capabilities = own.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or []):
            yield f"{name}: does not drop ALL"
        for capability in capabilities.get("add") or []:
            if capability != "NET_BIND_SERVICE":
                yield f"{name}: adds {capability}"
