"""The Kubernetes manifests: valid, whole, locked down, and about the commands and settings that there are."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docker" / "kubernetes"
VERSION = "1.34"
OUR_IMAGES = ("prefloop-web", "prefloop-worker")


@pytest.fixture(scope="module")
def kustomization():
    return yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def objects(kustomization):
    """All objects, by kind and name."""
    files = kustomization["resources"]
    assert sorted(files) == sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
    found = [one for file in files for one in yaml.safe_load_all((FOLDER / file).read_text("utf-8"))]
    named = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(named) == len(found)
    return named


def pods(objects):
    """The pods that are made, by the name of what makes them."""
    for (kind, name), one in objects.items():
        spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one.get("spec", {})
        if "template" in spec:
            yield name, spec["template"]


def containers(pod):
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


@pytest.mark.slow
def test_every_object_is_one(objects):
    for name, one in objects.items():
        try:
            kubernetes_validate.validate(one, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{name}: {error}")


def test_no_pod_has_a_right_that_it_does_not_need(objects):
    assert len(list(pods(objects))) == 7
    for name, pod in pods(objects):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for one in containers(pod):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(one["resources"]["requests"]), name
            assert "memory" in one["resources"]["limits"], name
            mounted = {mount["name"] for mount in one["volumeMounts"]}
            claims = objects.get(("StatefulSet", name), {}).get("spec", {}).get("volumeClaimTemplates", [])
            assert mounted <= {volume["name"] for volume in [*spec["volumes"], *(one["metadata"] for one in claims)]}
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text("utf-8")
    ours = [pod["spec"] for _, pod in pods(objects) if "prefloop" in pod["metadata"]["labels"]]
    assert {spec["securityContext"]["runAsUser"] for spec in ours} == {
        int(re.search(r"--uid (\d+)", dockerfile).group(1))
    }


def test_its_processes_run_commands_that_there_are(objects, kustomization):
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    assert {one["name"] for one in kustomization["images"]} == set(OUR_IMAGES)
    n_ours = 0
    for name, pod in pods(objects):
        for one in containers(pod):
            if one["image"] not in OUR_IMAGES:
                continue
            n_ours += 1
            assert {"configMapRef": {"name": "prefloop"}} in one["envFrom"], name
            assert {"secretRef": {"name": "prefloop"}} in one["envFrom"], name
            if one["command"][0] == "gunicorn":
                assert one["command"] == compose["web"]["command"]
            else:
                assert one["command"][:2] == ["python", "manage.py"], name
                assert one["command"][2] in get_commands(), name
    assert n_ours == 8


def test_what_points_to_something_finds_it(objects):
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects)}
    for (kind, name), one in objects.items():
        if kind == "Service":
            assert any(one["spec"]["selector"].items() <= found.items() for found in labels.values()), name
        if kind in ("Deployment", "StatefulSet"):
            assert one["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
        if kind == "HorizontalPodAutoscaler":
            target = one["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in objects
    backend = objects["Ingress", "web"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert ("Service", backend["name"]) in objects


def test_its_settings_are_listed_and_none_is_a_secret(objects):
    data = objects["ConfigMap", "prefloop"]["data"]
    listed = (ROOT / ".env.example").read_text("utf-8")
    assert [name for name in data if f"# {name}=" not in listed] == []
    assert [name for name in data if re.search("PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL", name)] == []
    assert ("Secret", "prefloop") not in objects
    document = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
    for name in ("SECRET_KEY", "DATABASE_URL", "POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert f"--from-literal={name}=" in document
    hosts = data["ALLOWED_HOSTS"].split(",")
    web = objects["Deployment", "web"]["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        (header,) = web[probe]["httpGet"]["httpHeaders"]
        assert header["value"] in hosts
