"""What must hold between weightd and its clients: users, mounts, claims, memory, names."""

from __future__ import annotations

import ast
import re

import pytest
from manifests import FOLDERS, ROOT, Object, Pod, environment, flag, loader_options, mount, render, settings

ROOT_USER = 0
DAEMON_USER = 65532
CLIENT_FOLDERS = [folder for folder in FOLDERS if "node-wide" not in folder and folder != "overlays/seccomp-install"]
NODE_CLIENTS = ["overlays/node-wide-client", "overlays/node-wide-client-cuda-ipc"]
CUDA_IPC_FOLDERS = {"overlays/cuda-ipc", "overlays/no-dra-cuda-ipc", "overlays/node-wide-cuda-ipc"}
NODE_FOLDERS = [folder for folder in FOLDERS if "node-wide" in folder and folder not in NODE_CLIENTS]
DAEMON_FOLDERS = [*CLIENT_FOLDERS, *NODE_FOLDERS]
NODE_OF = {
    "overlays/node-wide-client": "overlays/node-wide",
    "overlays/node-wide-client-cuda-ipc": "overlays/node-wide-cuda-ipc",
}


def engine(pod: Pod) -> Object:
    return pod.container("inference-server")


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_have_a_registry_and_a_fixed_tag(folder: str) -> None:
    (version,) = re.findall(r"project\(weightd VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    for pod in render(folder).pods():
        for container in pod.containers:
            assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+/[a-z0-9/_-]+:v?\d[\w.]*", container["image"])
            if container.get("command", [""])[0].startswith("/usr/bin/weight"):
                assert container["image"] == f"ghcr.io/weightd/weightd:{version}"


@pytest.mark.parametrize("folder", CLIENT_FOLDERS)
def test_weightd_is_a_native_sidecar_that_its_client_waits_for(folder: str) -> None:
    (daemon,) = [daemon for _, daemon in render(folder).daemons()]
    (pod,) = render(folder).pods()
    assert pod.spec["initContainers"] == [daemon]
    assert daemon["restartPolicy"] == "Always"
    wanted = ["/usr/bin/weightctl", "health"]
    if folder in ("overlays/wait-for-staged", "overlays/try"):
        wanted.append("--staged")
    assert daemon["startupProbe"]["exec"]["command"] == wanted


@pytest.mark.parametrize("folder", [*CLIENT_FOLDERS, *NODE_CLIENTS])
def test_clients_have_the_sockets_read_only_and_say_where_they_are(folder: str) -> None:
    (pod,) = render(folder).pods()
    assert pod.clients()
    for client in pod.clients():
        assert mount(client, "sockets") == {"name": "sockets", "mountPath": "/run/weightd", "readOnly": True}
    if pod.has("weightd"):
        daemon = pod.container("weightd")
        assert "emptyDir" in pod.volume("sockets")
        assert not mount(daemon, "sockets").get("readOnly")
    else:
        (daemon,) = [daemon for _, daemon in render(NODE_OF[folder]).daemons()]
        (volume,) = render(folder).of_kind("PersistentVolume")
        (node,) = render(NODE_OF[folder]).pods()
        assert volume["spec"]["hostPath"]["path"] == node.volume("sockets")["hostPath"]["path"]
        claim = render(folder).named("PersistentVolumeClaim", pod.volume("sockets")["persistentVolumeClaim"]["claimName"])
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        assert volume["spec"]["claimRef"] == {key: claim["metadata"][key] for key in ("namespace", "name")}
    ((daemons_pod, _),) = render(NODE_OF.get(folder, folder)).daemons()
    configuration = render(NODE_OF.get(folder, folder)).configuration(daemons_pod)
    directory = flag(daemon, "socket-dir") or settings(configuration, "socket_dir")[0]
    assert {environment(item)["WEIGHTD_SOCKET_DIR"] for item in (daemon, *pod.clients())} == {directory}
    assert mount(daemon, "sockets")["mountPath"] == "/run/weightd"
    # An emptyDir is 0777, a directory of weightd's own 0750.
    assert directory == ("/run/weightd/sockets" if pod.has("weightd") else "/run/weightd")


@pytest.mark.parametrize("folder", FOLDERS)
def test_models_are_read_only_everywhere(folder: str) -> None:
    for pod in render(folder).pods():
        for container in pod.containers:
            models = mount(container, "models")
            assert models is None or models["readOnly"] is True
        for volume in pod.spec["volumes"]:
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["readOnly"] is True


@pytest.mark.parametrize("folder", FOLDERS)
def test_all_of_a_pods_gpu_users_name_one_claim(folder: str) -> None:
    rendering = render(folder)
    for pod in rendering.pods():
        users = [container for container in pod.containers if container["name"] in ("weightd", "inference-server")]
        claims = [container["resources"].get("claims") for container in users]
        if "resourceClaims" not in pod.spec:
            assert not any(claims)
            assert not rendering.of_kind("ResourceClaimTemplate")
            continue
        (claim,) = pod.spec["resourceClaims"]
        assert claims == [[{"name": claim["name"]}]] * len(users), "both containers, the same GPU"
    if "no-dra" in folder:
        (pod,) = rendering.pods()
        assert engine(pod)["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "nvidia.com/gpu" not in pod.container("weightd")["resources"]["limits"], "it would be another GPU"


@pytest.mark.parametrize("folder", DAEMON_FOLDERS)
def test_cuda_ipc_has_one_pid_namespace_and_without_it_there_is_no_cuda(folder: str) -> None:
    for pod, daemon in render(folder).daemons():
        shared = pod.spec.get("shareProcessNamespace") or pod.spec.get("hostPID") or False
        assert shared == (folder in CUDA_IPC_FOLDERS)
        assert flag(daemon, "cuda.enabled") == ("ON" if shared else "OFF")
        for client in pod.clients():
            if client["name"] == "inference-server":
                device = loader_options(client).get("device")
                assert device == (None if shared else "cpu")


def test_the_image_asks_for_no_gpu() -> None:
    """Where NVIDIA's runtime is the node's usual one, this variable alone gives them."""
    instructions = re.sub(r"^#.*", "", (ROOT / "deploy/Containerfile").read_text(), flags=re.MULTILINE)
    assert "NVIDIA_VISIBLE_DEVICES" not in instructions


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_container_but_one_that_needs_all_gpus_asks_for_them(folder: str) -> None:
    for pod in render(folder).pods():
        for container in pod.containers:
            wanted = "all" if folder == "overlays/no-dra-cuda-ipc" and container["name"] == "weightd" else None
            assert environment(container).get("NVIDIA_VISIBLE_DEVICES") == wanted


@pytest.mark.parametrize("folder", NODE_CLIENTS)
def test_a_client_of_the_node_waits_for_its_weightd_and_does_not_fail_at_once(folder: str) -> None:
    (pod,) = render(folder).pods()
    (waiting,) = pod.spec["initContainers"]
    assert waiting["command"][:3] == ["/usr/bin/weightctl", "health", "--wait"]


def allowed(configuration: str, daemon: tuple[int, set[int]], what: str) -> tuple[set[int], set[int]]:
    """Uids and gids that may `what`, with the daemon's defaults."""
    uids = {int(value) for value in settings(configuration, f"{what}_uid")} or {ROOT_USER, daemon[0]}
    gids = {int(value) for value in settings(configuration, f"{what}_gid")}
    return uids, gids or (daemon[1] if what == "attach" else set())


@pytest.mark.parametrize("folder", [*CLIENT_FOLDERS, *NODE_CLIENTS])
def test_clients_may_attach_and_operate_only_where_cuda_makes_them_weightds_user(folder: str) -> None:
    (pod,) = render(folder).pods()
    where = NODE_OF.get(folder, folder)
    ((node, daemon),) = render(where).daemons()
    configuration, user = render(where).configuration(node), node.user(daemon)
    assert user == (DAEMON_USER, {DAEMON_USER})
    for client in pod.clients():
        uid, gids = pod.user(client)
        uids, groups = allowed(configuration, user, "attach")
        assert uid in uids or gids & groups
        assert uid == DAEMON_USER or DAEMON_USER in gids, "sockets are 0660"
        uids, groups = allowed(configuration, user, "operate")
        assert (uid in uids or bool(gids & groups)) == (where in CUDA_IPC_FOLDERS)
        assert (uid == DAEMON_USER) == (where in CUDA_IPC_FOLDERS)


@pytest.mark.parametrize("folder", DAEMON_FOLDERS)
def test_a_drain_ends_before_the_container_is_killed(folder: str) -> None:
    for pod, _ in render(folder).daemons():
        grace_ms = int((settings(render(folder).configuration(pod), "drain_grace_ms") or ["5000"])[0])
        assert pod.spec.get("terminationGracePeriodSeconds", 30) * 1000 > 1.5 * grace_ms


@pytest.mark.parametrize("folder", [*CLIENT_FOLDERS, *NODE_CLIENTS])
def test_one_model_has_one_name_everywhere(folder: str) -> None:
    (pod,) = render(folder).pods()
    if folder == "overlays/try":
        assert flag(pod.container("weightd"), "preload") == pod.container("client")["args"][1] == "greeting"
        assert "greeting.safetensors" in render(folder).files_of(pod, "models")
        return
    name = loader_options(engine(pod))["model"]
    assert engine(pod)["args"][0] == f"/models/{name}"
    assert flag(engine(pod), "served-model-name") == name
    if pod.has("weightd"):
        assert settings(render(folder).configuration(pod), "preload") == [name]
        return
    preferences = pod.spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    terms = [(item["weight"], *item["preference"]["matchExpressions"]) for item in preferences]
    label = "weightd.feature.node.kubernetes.io/" + name.replace("/", "--")
    wanted = [(100, "device"), (50, "host")]
    assert terms == [(weight, {"key": label, "operator": "In", "values": [value]}) for weight, value in wanted]


def test_keys_of_the_extra_config_are_those_of_the_loader() -> None:
    source = (ROOT / "client/python/src/weightd/engines/_options.py").read_text()
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    (options,) = [node for node in classes if node.name == "LoaderOptions"]
    known = {ast.unparse(node.target) for node in options.body if isinstance(node, ast.AnnAssign)}
    for folder in [*CLIENT_FOLDERS, *NODE_CLIENTS]:
        (pod,) = render(folder).pods()
        if pod.has("inference-server"):
            assert loader_options(engine(pod)).keys() <= known


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_that_want_a_gpu_tolerate_its_nodes(folder: str) -> None:
    for pod in render(folder).pods():
        wants = any(
            container["resources"].get("claims") or "nvidia.com/gpu" in container["resources"].get("limits", {})
            for container in pod.containers
        )
        keys = [item.get("key") for item in pod.spec.get("tolerations", [])]
        assert not wants or keys == ["nvidia.com/gpu"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_profile_of_the_node_is_weightds_alone_and_lies_where_it_is_installed(folder: str) -> None:
    for pod in render(folder).pods():
        for container in pod.containers:
            profile = container["securityContext"].get("seccompProfile")
            wanted = folder == "overlays/seccomp-io-uring" and container["name"] == "weightd"
            assert profile == ({"type": "Localhost", "localhostProfile": "weightd/weightd.json"} if wanted else None)
    if folder == "overlays/seccomp-install":
        (pod,) = render(folder).pods()
        assert pod.volume("profiles")["hostPath"]["path"] == "/var/lib/kubelet/seccomp/weightd"
        assert "/host/weightd.json" in pod.container("copy")["command"][-1]
        assert "weightd.json" in render(folder).files_of(pod, "profile")
