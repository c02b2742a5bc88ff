"""Checkpoints by the API: sent in pieces, imported, made the default, approved; as on their pages."""

from __future__ import annotations

import json

import pytest

from apps.jobs.models import Job
from apps.policies.models import Checkpoint

AT = "/api/v1/projects/letters-test/"


@pytest.fixture
def checkpoint(project):
    return Checkpoint.objects.create(project=project, name="start", role="policy", path="x", fingerprint="0" * 64)


def put(api, name, file, offset, piece):
    at = f"{AT}model-uploads/{name}/?file={file}&offset={offset}"
    return api.put(at, piece, content_type="application/octet-stream")


@pytest.mark.slow
def test_a_model_is_sent_in_pieces_and_goes_on_where_it_stopped(project, store, model_dir, erin, api_for):
    folder = model_dir("there")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    sizes = [{"name": name, "size": len(content)} for name, content in files.items()]
    api = api_for(erin)
    begun = api.post(f"{AT}model-uploads/", {"name": "tiny", "files": [*sizes, {"name": "run.py", "size": 1}]}, "json")
    assert (begun.status_code, begun.json()["left_out"]) == (200, ["run.py"])
    huge = {"name": "huge", "files": [{"name": row["name"], "size": 10**400} for row in sizes]}
    assert api.post(f"{AT}model-uploads/", huge, "json").status_code == 400
    weights = files["model.safetensors"]
    assert put(api, "tiny", "model.safetensors", 0, weights[:40]).json()["have"] == 40
    lost = put(api, "tiny", "model.safetensors", 0, weights[:40])
    assert (lost.status_code, lost.json()["have"]) == (409, 40)
    assert "not all of it has arrived" in api.post(f"{AT}model-uploads/tiny/finish/").json()["detail"]
    assert put(api, "tiny", "model.safetensors", 40, weights[40:]).status_code == 200
    assert put(api, "tiny", "config.json", 0, files["config.json"]).status_code == 200
    path = api.post(f"{AT}model-uploads/tiny/finish/").json()["path"]
    (whole,) = api.get(f"{AT}model-uploads/").json()
    assert (whole["name"], whole["path"]) == ("tiny", path)
    look = api.post(f"{AT}policies/look/", {"path": path}, "json").json()
    assert (look["facts"]["n_parameters"], look["fits_on_disk"]) == (6, True)
    made = api.post(f"{AT}policies/", {"path": path, "name": "tiny", "role": "policy"}, "json")
    assert (made.status_code, made.json()["name"], made.json()["n_parameters"]) == (201, "tiny", 6)
    assert api.get(f"{AT}model-uploads/").json() == []  # imported
    assert [row["name"] for row in api.get(f"{AT}policies/").json()] == ["tiny"]


def test_what_can_not_be_sent_or_imported_is_said(project, store, erin, api_for):
    api = api_for(erin)
    for sent in ({"name": "x"}, {"name": "x", "files": []}, {"name": "x", "files": [{"name": "a.txt", "size": -1}]}):
        assert api.post(f"{AT}model-uploads/", sent, "json").status_code == 400
    assert api.put(f"{AT}model-uploads/x/", b"", content_type="application/octet-stream").status_code == 400
    assert put(api, "x", "config.json", 0, b"{}").status_code == 400  # nothing is announced
    nameless = api.post(f"{AT}policies/", {"path": "nowhere", "role": "policy"}, "json")
    assert nameless.json()["detail"] == "name: This field is required."
    away = api.post(f"{AT}policies/", {"path": "/etc", "name": "x", "role": "policy"}, "json")
    assert (away.status_code, "PREFLOOP_IMPORT_DIRS" in away.json()["detail"]) == (400, True)
    assert api.post(f"{AT}policies/look/", {"path": "/etc"}, "json").status_code == 400
    assert not Checkpoint.objects.exists()
    assert api.delete(f"{AT}model-uploads/x/").status_code == 204


def test_a_checkpoint_becomes_the_default(checkpoint, erin, bob, api_for):
    assert api_for(bob).get(f"{AT}policies/{checkpoint.pk}/").json()["is_default"] is False
    assert api_for(erin).post(f"{AT}policies/{checkpoint.pk}/default/").json()["is_default"] is True
    assert api_for(bob).post(f"{AT}policies/{checkpoint.pk}/default/").status_code == 404


def test_it_is_approved_once_and_only_what_was_seen_is_withdrawn(checkpoint, erin, api_for):
    at, api = f"{AT}policies/{checkpoint.pk}/approval/", api_for(erin)
    given = api.put(at, {"note": "Read 40 answers."}, "json").json()
    assert (given["approved_by"], given["approval_note"]) == ("erin", "Read 40 answers.")
    again = api.put(at, {}, "json")
    assert (again.status_code, "approved already, by erin" in again.json()["detail"]) == (400, True)
    assert api.delete(f"{at}?seen=2020-01-01T00:00:00Z").status_code == 400
    assert api.delete(at).status_code == 400
    taken = api.delete(f"{at}?seen={given['approved_at']}")
    assert (taken.status_code, taken.json()["approved_at"]) == (200, None)


def test_jobs_are_seen_cancelled_and_tried_again(project, erin, bob, ann, api_for):
    job = Job.objects.create(
        project=project, kind="labels.derive", queue="cpu", title="Derive", started_by=erin, result={"secret": 1}
    )
    at, api = f"{AT}jobs/{job.pk}/", api_for(erin)
    assert "secret" not in json.dumps(api.get(at).json())
    assert [row["id"] for row in api_for(bob).get(f"{AT}jobs/").json()] == [job.pk]
    assert api_for(ann).get(f"{AT}jobs/").json() == []
    assert api_for(ann).get(at).status_code == 404
    assert api_for(bob).post(f"{at}cancel/").status_code == 404
    assert api.post(f"{at}retry/").status_code == 400  # it has not ended
    assert api.post(f"{at}cancel/").json()["state"] == "cancelled"
    again = api.post(f"{at}retry/")
    assert (again.status_code, again.json()["state"], again.json()["id"] > job.pk) == (201, "queued", True)
