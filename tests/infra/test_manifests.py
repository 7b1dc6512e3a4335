"""The manifests for Kubernetes: rendered by kustomize, each kind by its schema, and what they say of each other."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ggufactory.job.job_file import load_job
from infra_files import EXAMPLE_SOURCES, EXAMPLE_TARGETS, INFRA

KUBERNETES = INFRA / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
_RELEASE = "1.32"
"""Of Kubernetes: the oldest that is supported when this is written."""

_OWN_SCHEMAS = {
    f"{group}/{version}": json.loads((INFRA / "schemas" / f"{group}_{version}.json").read_text())
    for group, version in (("ray.io", "v1"), ("monitoring.coreos.com", "v1"))
}
_NO_RESOURCE = ("kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1alpha1")

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here, which renders overlays")

Document = dict[str, Any]


@cache
def _rendered(folder: str) -> tuple[Document, ...]:
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> tuple[Document, ...]:
    return _rendered(f"overlays/{request.param}")


def _validate(document: Document) -> None:
    schema = _OWN_SCHEMAS.get(document["apiVersion"])
    if schema is None:
        kubernetes_validate.validate(document, _RELEASE, strict=True)
        return
    jsonschema.validate(document, schema)
    for template in _pod_templates(document):
        kubernetes_validate.validate(_as_pod_template(template), _RELEASE, strict=True)


def _as_pod_template(template: Document) -> Document:
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "template"}, "template": template}


def _pod_templates(value: object) -> Iterator[Document]:
    """Every pod template in a document, whatever the kind."""
    if isinstance(value, Mapping):
        if isinstance(value.get("spec"), Mapping) and "containers" in value["spec"]:
            yield dict(value)
        for item in value.values():
            yield from _pod_templates(item)
    elif isinstance(value, list):
        for item in value:
            yield from _pod_templates(item)


def _of_kind(documents: tuple[Document, ...], *kinds: str) -> list[Document]:
    return [d for d in documents if d["kind"] in kinds]


def _selects(selector: Document, labels: Mapping[str, str]) -> bool:
    exact = all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
    return exact and all(labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))


@needs_kubectl
def test_every_resource_is_of_its_schema(overlay: tuple[Document, ...]) -> None:
    for document in overlay:
        _validate(document)


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("*.yaml")), ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_every_file_is_of_its_schema(path: Path) -> None:
    """Also without kubectl; what other resources are copied into is left to the rendered ones."""
    for document in yaml.safe_load_all(path.read_text()):
        if isinstance(document, list) or document.get("apiVersion") in (None, *_NO_RESOURCE):
            continue  # a patch, a job file, a kustomization
        if document["kind"] not in ("RayJob", "RayCronJob"):
            _validate(document)


@needs_kubectl
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "authOption"), {}),
        (("spec", "authOptions", "mode"), "none"),
        (("spec", "workerGroupSpecs", 0, "minReplicas"), "0"),
        (("spec", "workerGroupSpecs", 0, "template", "spec", "tolerance"), []),
        (("spec", "headGroupSpec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "http"),
    ],
)
def test_the_schemas_find_mistakes(path: tuple[Any, ...], value: object) -> None:
    (cluster,) = json.loads(json.dumps(_of_kind(_rendered("overlays/cpu-spot"), "RayCluster")))
    _validate(cluster)
    place = cluster
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        _validate(cluster)


@needs_kubectl
def test_pods_have_no_keys_and_no_root(overlay: tuple[Document, ...]) -> None:
    accounts = {d["metadata"]["name"] for d in _of_kind(overlay, "ServiceAccount")}
    assert not _of_kind(overlay, "Secret")
    assert "AWS_" not in json.dumps(overlay)
    templates = [t for d in overlay for t in _pod_templates(d)]
    assert len(templates) >= 2
    for template in templates:
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 1000, "the image's user"
        assert spec.get("serviceAccountName") in (accounts | {None})
        assert spec.get("serviceAccountName") or not spec["automountServiceAccountToken"]
        for container in spec["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["resources"]["limits"]["memory"]
            for variable in container.get("env", []):
                assert "value" not in variable or variable["name"] == "RAY_AUTH_MODE"


def _cluster_specs(documents: tuple[Document, ...]) -> list[Document]:
    found = []
    for document in _of_kind(documents, "RayCluster", "RayJob", "RayCronJob"):
        spec = document["spec"].get("jobTemplate", document["spec"])
        found.append(spec.get("rayClusterSpec", spec))
    return found


@needs_kubectl
def test_clusters_ask_for_a_token_and_run_no_span_on_the_head(overlay: tuple[Document, ...]) -> None:
    (spec,) = _cluster_specs(overlay)
    assert spec["authOptions"]["mode"] == "token"
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"]["template"]["spec"]["serviceAccountName"] == "ggufactory-driver"
    assert spec["headGroupSpec"]["template"]["spec"]["nodeSelector"]["karpenter.sh/capacity-type"] == "on-demand"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == 0
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == "ggufactory-worker"
        assert pod["terminationGracePeriodSeconds"] >= 60
        assert pod["nodeSelector"]["karpenter.sh/capacity-type"] == "spot"


@needs_kubectl
def test_the_ray_of_the_cluster_is_that_of_the_image() -> None:
    (spec,) = _cluster_specs(_rendered("overlays/cpu-spot"))
    pins = (INFRA.parent / "constraints.txt").read_text().split()
    assert f"ray=={spec['rayVersion']}" in pins


@needs_kubectl
def test_the_network_lets_in_who_belongs(overlay: tuple[Document, ...]) -> None:
    (policy,) = _of_kind(overlay, "NetworkPolicy")
    (spec,) = _cluster_specs(overlay)
    nodes = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for node in nodes:
        assert _selects(policy["spec"]["podSelector"], node["template"]["metadata"]["labels"])
    (to_job_server,) = [r for r in policy["spec"]["ingress"] if {"port": 8265, "protocol": "TCP"} in r.get("ports", [])]
    allowed = [peer["podSelector"] for peer in to_job_server["from"]]
    for document in _of_kind(overlay, "CronJob", "RayJob", "RayCronJob"):
        for template in _pod_templates(document):
            labels = template["metadata"]["labels"]
            if labels["app.kubernetes.io/component"] == "submitter":
                assert any(_selects(selector, labels) for selector in allowed)
                assert not _selects(policy["spec"]["podSelector"], labels)


def test_monitors_find_the_nodes_and_their_ports() -> None:
    cluster = yaml.safe_load((KUBERNETES / "base" / "raycluster.yaml").read_text())
    nodes = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    monitors = list(yaml.safe_load_all((KUBERNETES / "components" / "monitoring" / "pod-monitors.yaml").read_text()))
    for node in nodes:
        labels = node["template"]["metadata"]["labels"]
        (monitor,) = [m for m in monitors if _selects(m["spec"]["selector"], labels)]
        ports = {port["name"] for port in node["template"]["spec"]["containers"][0]["ports"]}
        assert {e["port"] for e in monitor["spec"]["podMetricsEndpoints"]} <= ports


@needs_kubectl
def test_a_night_does_not_run_into_the_next() -> None:
    documents = _rendered("overlays/nightly")
    (cron,) = _of_kind(documents, "CronJob")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert cron["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    (template,) = _pod_templates(cron)
    (container,) = template["spec"]["containers"]
    (cluster,) = _of_kind(documents, "RayCluster")
    assert f"--address=http://{cluster['metadata']['name']}-head-svc:8265" in container["command"]
    token = next(v for v in container["env"] if v["name"] == "RAY_AUTH_TOKEN")["valueFrom"]["secretKeyRef"]
    assert token == {"name": cluster["metadata"]["name"], "key": "auth_token"}, "the Secret that KubeRay makes"


@needs_kubectl
@pytest.mark.parametrize(("name", "kind"), [("nightly", "CronJob"), ("rayjob", "RayJob"), ("raycronjob", "RayCronJob")])
def test_config_maps_are_where_they_are_read(name: str, kind: str) -> None:
    documents = _rendered(f"overlays/{name}")
    maps = {d["metadata"]["name"]: d["data"] for d in _of_kind(documents, "ConfigMap")}
    read = [
        (template, volume)
        for document in _of_kind(documents, kind)
        for template in _pod_templates(document)
        for volume in template["spec"].get("volumes", [])
        if "configMap" in volume
    ]
    ((template, volume),) = read
    (file,) = maps[volume["configMap"]["name"]]
    mounts = [m for c in template["spec"]["containers"] for m in c["volumeMounts"] if m["name"] == volume["name"]]
    assert [m["mountPath"].removesuffix(f"/{file}") for m in mounts] == ["/etc/ggufactory"]
    (document,) = _of_kind(documents, kind)
    assert file in json.dumps({k: v for k, v in document["spec"].items() if k in ("entrypoint", "jobTemplate")})


def test_the_example_job_is_one_and_within_the_policies() -> None:
    fields = load_job(str(KUBERNETES / "overlays" / "rayjob" / "job.yaml"))
    assert fields["source"].startswith(f"s3://{EXAMPLE_SOURCES}/")
    assert fields["to"].startswith(f"s3://{EXAMPLE_TARGETS}/")


def test_the_catalogues_are_within_the_policies() -> None:
    found = [(KUBERNETES / "overlays" / name / "catalog.yaml").read_text() for name in ("nightly", "raycronjob")]
    assert found[0] == found[1]
    catalogue = yaml.safe_load(found[0])
    assert catalogue["target"].startswith(f"s3://{EXAMPLE_TARGETS}/")
    assert all(model["source"].startswith(f"s3://{EXAMPLE_SOURCES}/") for model in catalogue["models"])
