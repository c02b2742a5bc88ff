"""Averaged checkpoints by command: the weights, the lineage, and what is refused with nothing left behind."""

from __future__ import annotations

import io
import json

import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import load_file

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_import
from apps.policies.store import store_path
from prefloop.checkpoints import verify_manifest
from prefloop.model_sources import Directory
from prefloop.policy.loading import load_policy, save_model
from prefloop.policy.tiny import tiny_policy

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def average(project, *names, **options):
    out = io.StringIO()
    call_command("average_checkpoints", *names, project=project.slug, json=True, stdout=out, **options)
    return json.loads(out.getvalue())


@pytest.fixture
def rows(project, settings, tmp_path):
    """Checkpoints by name: two that were trained from "start", and a strange one."""
    settings.STORE_DIR = tmp_path / "store"
    rows = {}
    for seed, name in enumerate(("start", "one", "two", "strange")):
        policy = tiny_policy(seed=seed)
        save_model(policy.model, policy.tokenizer, tmp_path / name)
        rows[name] = checkpoint_import(project=project, name=name, role="policy", source=Directory(tmp_path / name))
    Checkpoint.objects.filter(name__in=("one", "two")).update(parent=rows["start"])
    return rows


def test_checkpoints_of_one_start_are_averaged_with_their_lineage(project, rows):
    said = average(project, "one", "two", name="warm")
    made = Checkpoint.objects.get(name="warm")
    assert (said["start"], made.parent, made.role) == ("start", rows["start"], "policy")
    told = verify_manifest(store_path(made.path))["extra"]["averaged"]
    assert told == {"of": {name: rows[name].fingerprint for name in ("one", "two")}, "by": "mean", "keep": 1.0}
    one, two, start, mean = (
        load_file(store_path(row.path) / "model.safetensors") for row in (rows["one"], rows["two"], rows["start"], made)
    )
    for key, value in mean.items():
        torch.testing.assert_close(value, (one[key] + two[key]) / 2)
    load_policy(store_path(made.path))  # it is a model
    average(project, "one", "two", name="warp", by="slerp", keep=0.5)
    arc = load_file(store_path(Checkpoint.objects.get(name="warp").path) / "model.safetensors")
    assert any(float((arc[key] - start[key]).norm()) > 0 for key in arc)
    assert all(float((arc[key] - start[key]).norm()) <= float((one[key] - start[key]).norm() + 1) for key in arc)
    before = sorted(path.name for path in store_path(made.path).parent.iterdir())
    for names, options, why in (
        (("one", "strange"), {}, "not trained from one"),
        (("one", "one"), {}, "two different"),
        (("one", "two"), {"keep": 0.0}, "share of the way"),
        (("one", "lost"), {}, "no policy|no checkpoint"),
    ):
        with pytest.raises(CommandError, match=why):
            average(project, *names, name="never", **options)
    with pytest.raises(CommandError, match="already exists"):
        average(project, "one", "two", name="warm")
    assert sorted(path.name for path in store_path(made.path).parent.iterdir()) == before


def test_a_page_and_a_program_have_them_averaged_by_a_job(project, rows, erin, bob, client_for, api_for):
    page, api = f"/p/{project.slug}/policies/average/", f"/api/v1/projects/{project.slug}/policies/average/"
    shown = client_for(erin).get(page).content.decode()
    assert [f'value="{name}"' in shown for name in rows] == [False, True, True, False]
    asked = {"of": ["one", "two"], "by": "slerp", "keep": "0.5", "name": "warp"}
    assert client_for(bob).post(page, asked).status_code == 404
    refused = client_for(erin).post(page, asked | {"of": ["one"]})
    assert (refused.status_code, "name two different checkpoints" in refused.content.decode()) == (400, True)
    assert client_for(erin).post(page, asked).status_code == 302
    sent = {"of": ["one", "two"], "name": "warm"}
    assert api_for(erin).post(api, sent, "json").status_code == 202
    lost = api_for(erin).post(api, sent | {"of": ["one", "gone"]}, "json")
    assert (lost.status_code, "no checkpoint 'gone'" in lost.content.decode()) == (400, True)
    Checkpoint.objects.filter(name__in=("one", "two")).update(role="reward")  # WARM's
    drain(["gpu"], worker_name="w")
    assert list(Job.objects.filter(kind="policies.average").values_list("error", flat=True)) == ["", ""]
    for name, by, role in (("warp", "slerp", "reward"), ("warm", "mean", "reward")):
        made = Checkpoint.objects.get(name=name)
        assert (made.role, made.parent, made.created_by) == (role, rows["start"], erin)
        assert made.manifest["extra"]["averaged"]["by"] == by
    # an attempt that was lost after it had made its checkpoint makes no second one and does not fail
    job = Job.objects.filter(kind="policies.average").first()
    Job.objects.filter(pk=job.pk).update(state="queued", attempt=0, ended_at=None)
    drain(["gpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, Checkpoint.objects.filter(name__in=("warp", "warm")).count()) == ("succeeded", 2)
