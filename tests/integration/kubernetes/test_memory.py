"""Memory limits hold the budget and what weightd needs besides, as README.md counts it and the code takes it."""

from __future__ import annotations

import re

import pytest
from manifests import (
    FOLDERS, KUBERNETES, ROOT, Object, Pod, Rendering, environment, flag, number_of_bytes, render, settings,
)  # fmt: skip

MIB = 1 << 20
GIB = 1 << 30
GPUS_OF_A_NODE = 8  # as manifests say beside their limits
CUDA_PER_GPU = 256 * MIB  # README.md: what the driver takes of the host's memory was not measured
GPUS = {
    "overlays/cuda-ipc": 1,
    "overlays/no-dra-cuda-ipc": GPUS_OF_A_NODE,
    "overlays/node-wide-cuda-ipc": GPUS_OF_A_NODE,
}


def constant(pattern: str, path: str) -> int:
    (value,) = re.findall(pattern, (ROOT / path).read_text())
    return int(value)


def staging_pools() -> tuple[int, int, int]:
    """Bytes of the staging buffers of the host, of a GPU, and of a GPU where a root is on a network."""
    block = constant(r"uint64_t block_bytes = uint64_t\{(\d+)\} << 20;", "daemon/staging/stager.h") * MIB
    host_slots = constant(r"uint32_t host_slot_count = (\d+);", "daemon/staging/stager.h")
    extra = constant(r"kDigestSlots = (\d+);", "daemon/staging/stager.cc") * block
    local = constant(r"kLocalBytesInFlight = (\d+) \* kMiB;", "daemon/staging/stager.cc") * MIB
    remote = constant(r"kRemoteBytesInFlight = (\d+) \* kMiB;", "daemon/staging/stager.cc") * MIB
    return host_slots * block, local + extra, remote + extra


def gpus_seen(rendering: Rendering, pod: Pod, daemon: Object) -> int:
    """By weightd, which makes staging buffers for each."""
    if flag(daemon, "cuda.enabled") == "OFF":
        return 0
    if environment(daemon).get("NVIDIA_VISIBLE_DEVICES") == "all":
        return GPUS_OF_A_NODE
    (claim,) = pod.spec["resourceClaims"]
    template = rendering.named("ResourceClaimTemplate", claim["resourceClaimTemplateName"])
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    return GPUS_OF_A_NODE if request["exactly"].get("allocationMode") == "All" else request["exactly"].get("count", 1)


def host_budget(rendering: Rendering, pod: Pod, daemon: Object) -> int:
    host = re.search(r"\bhost \{([^}]*)\}", rendering.configuration(pod))
    return int(flag(daemon, "host.budget-bytes") or settings(host[1] if host else "", "budget_bytes")[0])


@pytest.mark.parametrize("folder", FOLDERS)
def test_limit_holds_the_budget_the_daemon_and_buffers_for_each_gpu(folder: str) -> None:
    rendering = render(folder)
    on_host, _, per_gpu = staging_pools()
    for pod, daemon in rendering.daemons():
        for name in ("block_bytes", "slot_count"):
            assert not settings(rendering.configuration(pod), name), "counted here are the code's own"
        gpus = gpus_seen(rendering, pod, daemon)
        assert gpus == GPUS.get(folder, 0)
        resources = daemon["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]
        limit = number_of_bytes(resources["limits"]["memory"])
        itself = GIB if folder != "overlays/try" else on_host + 32 * MIB
        needed = host_budget(rendering, pod, daemon) + itself + gpus * (per_gpu + CUDA_PER_GPU)
        assert limit >= needed
        # And not much more than that, or the comment beside it is wrong.
        assert limit <= needed + 2 * GIB


def test_both_readmes_count_the_buffers_as_the_code_makes_them() -> None:
    pools = [f"{pool // MIB} MiB" for pool in staging_pools()]
    assert pools == ["128 MiB", "96 MiB", "544 MiB"]
    for readme, heading in ((ROOT / "deploy/README.md", "Capacity"), (KUBERNETES / "README.md", "Memory")):
        section = readme.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
        for pool in pools:
            assert pool in section, readme
