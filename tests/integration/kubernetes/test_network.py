"""Who reaches what: policies, ports and what Prometheus finds."""

from __future__ import annotations

import pytest
from manifests import FOLDERS, ROOT, Object, Rendering, render, selects, settings

WITH_METRICS = [
    folder
    for folder in FOLDERS
    if folder not in ("overlays/try", "overlays/seccomp-install") and "client" not in folder
]


def policies(rendering: Rendering, labels: Object) -> list[Object]:
    return [
        item["spec"] for item in rendering.of_kind("NetworkPolicy") if selects(item["spec"]["podSelector"], labels)
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_selector_finds_a_pod(folder: str) -> None:
    rendering = render(folder)
    labels = [pod.labels for pod in rendering.pods()]
    selectors = [item["spec"]["podSelector"] for item in rendering.of_kind("NetworkPolicy")]
    selectors += [item["spec"]["selector"] for item in rendering.of_kind("PodMonitor")]
    for selector in selectors:
        assert any(selects(selector, found) for found in labels), selector
    for pod in rendering.pods():
        if pod.owner["kind"] != "Job":
            assert selects(pod.owner["spec"]["selector"], pod.labels)


@pytest.mark.parametrize("folder", WITH_METRICS)
def test_prometheus_reaches_the_metrics_and_nobody_else_does(folder: str) -> None:
    rendering = render(folder)
    for pod, daemon in rendering.daemons():
        (port,) = daemon["ports"]
        (address,) = settings(rendering.configuration(pod), "address")
        assert address == f"0.0.0.0:{port['containerPort']}"
        annotations = pod.template["metadata"]["annotations"]
        assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(port["containerPort"])}
        rules = [rule for policy in policies(rendering, pod.labels) for rule in policy.get("ingress", [])]
        to_metrics = [rule for rule in rules if {"protocol": "TCP", "port": 9464} in rule["ports"]]
        (rule,) = to_metrics
        assert port["containerPort"] == 9464
        assert rule["ports"] == [{"protocol": "TCP", "port": 9464}]
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


@pytest.mark.parametrize("folder", WITH_METRICS)
def test_pods_with_weightd_call_nobody_and_offer_but_the_engine(folder: str) -> None:
    rendering = render(folder)
    for pod, _ in rendering.daemons():
        found = policies(rendering, pod.labels)
        assert any("Egress" in policy["policyTypes"] for policy in found)
        assert not any("egress" in policy for policy in found)
        assert all(rule.get("from") and rule.get("ports") for policy in found for rule in policy["ingress"])
        open_ports = {port["port"] for policy in found for rule in policy["ingress"] for port in rule["ports"]}
        declared = {port["containerPort"] for item in pod.containers for port in item.get("ports", [])}
        assert open_ports == declared


@pytest.mark.parametrize("folder", ["overlays/pod-monitor", "overlays/node-wide-pod-monitor"])
def test_pod_monitor_has_the_fields_of_the_operator(folder: str) -> None:
    """In place of a schema: the custom resource is the Prometheus operator's."""
    rendering = render(folder)
    (monitor,) = rendering.of_kind("PodMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "podMetricsEndpoints"}
    assert monitor["spec"]["selector"].keys() == {"matchExpressions"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    # The rules of deploy/observability know the job by this name.
    assert 'up{job="weightd"}' in (ROOT / "deploy/observability/alerts.yaml").read_text()
    job = {"targetLabel": "job", "replacement": "weightd"}
    pod = ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"]
    instance = {"sourceLabels": pod, "separator": "/", "targetLabel": "instance"}
    assert endpoint == {"port": "metrics", "path": "/metrics", "interval": "30s", "relabelings": [job, instance]}
    ((pod, daemon),) = rendering.daemons()
    assert [port["name"] for port in daemon["ports"]] == [endpoint["port"]]
    assert selects(monitor["spec"]["selector"], pod.labels)
    assert monitor["metadata"]["namespace"] == pod.owner["metadata"]["namespace"]


def test_a_claim_on_others_gpus_needs_the_namespaces_label() -> None:
    for folder in FOLDERS.keys() - {"overlays/seccomp-install"}:
        rendering = render(folder)
        requests = [
            request["exactly"]
            for item in rendering.of_kind("ResourceClaimTemplate")
            for request in item["spec"]["spec"]["devices"]["requests"]
        ]
        (namespace,) = rendering.of_kind("Namespace")
        labelled = namespace["metadata"]["labels"].get("resource.kubernetes.io/admin-access") == "true"
        assert labelled == any(request.get("adminAccess") for request in requests)
        assert all(request["deviceClassName"] == "gpu.nvidia.com" for request in requests)
