"""Every object is what Kubernetes takes, from the oldest version that the overlay is for to the newest."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path

import kubernetes_validate
import pytest
from manifests import BASES, FOLDERS, KUBERNETES, NEWEST, OVERLAYS, Object, render

# What belongs to no Kubernetes. It has no schema here: test_network.py says what is checked of it.
CUSTOM = {("monitoring.coreos.com/v1", "PodMonitor")}

def validate(item: Object, version: str) -> None:
    kubernetes_validate.validate(item, version, strict=True)


def is_custom(item: Object) -> bool:
    return (item["apiVersion"], item["kind"]) in CUSTOM


@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_match_the_schemas(folder: str) -> None:
    items = [item for item in render(folder).objects if not is_custom(item)]
    assert items
    for version in (FOLDERS[folder], NEWEST):
        for item in items:
            validate(item, version)


def test_an_overlay_for_an_older_version_has_no_dra_and_the_others_do() -> None:
    for folder in FOLDERS.keys() - {"overlays/seccomp-install"}:
        has_claims = bool(render(folder).of_kind("ResourceClaimTemplate"))
        assert has_claims == (FOLDERS[folder] == "1.34"), folder
    claim = render("base").of_kind("ResourceClaimTemplate")[0]
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        validate(claim, "1.33")


def test_a_misspelt_field_and_a_wrong_type_are_found() -> None:
    deployment = render("base").of_kind("Deployment")[0]
    validate(deployment, NEWEST)
    misspelt = copy.deepcopy(deployment)
    misspelt["spec"]["template"]["spec"]["initContainers"][0]["restartPolice"] = "Always"
    wrong = copy.deepcopy(deployment)
    wrong["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "http"
    for bad in (misspelt, wrong):
        with pytest.raises(kubernetes_validate.ValidationError):
            validate(bad, NEWEST)


def test_every_overlay_is_known_here_and_told_in_the_readme() -> None:
    assert {path.name for path in (KUBERNETES / "overlays").iterdir()} == set(OVERLAYS)
    assert {path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml")} == set(BASES)
    readme = (KUBERNETES / "README.md").read_text()
    for name, version in OVERLAYS.items():
        row = re.search(rf"^\| \[`{name}`\]\(overlays/{name}\) \|.*\| (\S+) \|$", readme, re.MULTILINE)
        assert row, f"README.md has no row for {name}"
        assert row[1] == version, name
    for component in (KUBERNETES / "components").iterdir():
        assert f"`{component.name}`" in readme, component.name


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_that_objects_refer_to_are_there(folder: str) -> None:
    rendering = render(folder)
    namespaces = {item["metadata"].get("namespace") for item in rendering.objects} - {None}
    assert namespaces == {item["metadata"]["name"] for item in rendering.of_kind("Namespace")}
    for pod in rendering.pods():
        volumes = {volume["name"] for volume in pod.spec["volumes"]}
        mounted = {item["name"] for container in pod.containers for item in container.get("volumeMounts", [])}
        assert volumes == mounted, "no volume for nothing, and no mount of nothing"
        for volume in pod.spec["volumes"]:
            if "configMap" in volume:
                rendering.named("ConfigMap", volume["configMap"]["name"])
            if "persistentVolumeClaim" in volume:
                rendering.named("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
        for claim in pod.spec.get("resourceClaims", []):
            rendering.named("ResourceClaimTemplate", claim["resourceClaimTemplateName"])
        if "priorityClassName" in pod.spec:
            rendering.named("PriorityClass", pod.spec["priorityClassName"])


def test_a_users_own_kustomization_combines_components(tmp_path: Path) -> None:
    """As README.md shows it, with a configuration and an image of one's own."""
    readme = (KUBERNETES / "README.md").read_text()
    example = re.search(r"```yaml\n(# my-inference/kustomization.yaml\n.*?)```", readme, re.DOTALL)
    assert example
    (tmp_path / "weightd.textproto").write_text('root: "/models"\n')
    # kustomize takes folders by relative paths alone.
    text = example[1].replace("../weightd/deploy/kubernetes", os.path.relpath(KUBERNETES, tmp_path))
    (tmp_path / "kustomization.yaml").write_text(text)
    rendering = render(os.path.relpath(tmp_path, KUBERNETES))
    for item in rendering.objects:
        if not is_custom(item):
            validate(item, NEWEST)
    pod, daemon = next(rendering.daemons())
    assert pod.spec["shareProcessNamespace"] is True
    assert daemon["startupProbe"]["exec"]["command"][-1] == "--staged"
    assert daemon["image"].startswith("registry.my.example/")
    assert rendering.configuration(pod) == 'root: "/models"\n'
    (monitor,) = rendering.of_kind("PodMonitor")
    assert monitor["metadata"]["labels"] == {"release": "kube-prometheus-stack"}


def test_the_readmes_patch_for_selinux_applies(tmp_path: Path) -> None:
    section = (KUBERNETES / "README.md").read_text().split("\n## SELinux\n")[1]
    patch = re.search(r"```yaml\n(patches:\n.*?)```", section, re.DOTALL)
    assert patch
    overlay = os.path.relpath(KUBERNETES / "overlays/node-wide", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{overlay}]\n{patch[1]}")
    (pod,) = render(os.path.relpath(tmp_path, KUBERNETES)).pods()
    validate(pod.owner, NEWEST)
    assert pod.spec["securityContext"]["seLinuxOptions"] == {"level": "s0"}
