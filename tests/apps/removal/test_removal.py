"""Deletion: nothing of what was deleted is left in any table or file, counts agree, and what learned from it is marked.

A canary stands in every text of the prompt, of its answers, or of the person's labels.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.core.models import AuditEvent
from apps.exchange.models import Upload
from apps.jobs.drain import drain
from apps.jobs.models import Job, JobEvent
from apps.labels.models import Override, PairFlag, Preference, Score, Verdict, Vote
from apps.labels.review_counts import review_differences
from apps.labels.services import preferences_derive
from apps.policies.models import Checkpoint
from apps.projects.models import Membership, Project
from apps.rankings.models import PracticeAnswer
from apps.rankings.services.counts import counts_repair, differences
from apps.removal.retention import KEPT, retention_set, retention_start
from apps.removal.rows import models_below
from apps.removal.services import Asked, RemovalRefused, removal_start
from apps.samples.models import Comparison
from apps.training.models import Loop, Snapshot, SnapshotItem, TrainingRun
from tests.canary import CANARY, left_in_files, left_in_tables

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.postgresql]
PAGE = "/p/letters-test/settings/deletion/"
API = "/api/v1/projects/letters-test/"


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.STORE_DIR = tmp_path / "store"
    return settings.STORE_DIR


def delete(project: Any, by: Any, kind: str, which: str, labels: str = "") -> Job:
    job = removal_start(project=project, asked=Asked(kind, which, labels), by=by)
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert job.state == "succeeded", job.error
    connection.check_constraints()
    return job


@pytest.fixture
def trained(project, store, alice, ann, bob, make_prompt, make_comparison, make_judge, make_verdict, make_vote):
    """A project whose first prompt has the canary, and one of whose training sets, runs and checkpoints learned it."""
    judge = make_judge(
        project,
        "rm",
        order_policy="random",
        options={"examples": [{"prompt": f"{CANARY}?", "first": "a", "outcome": "tie"}]},
    )
    Project.objects.filter(pk=project.pk).update(label_judge="rm")
    project.refresh_from_db()
    prompts = [make_prompt(project, text=f"{CANARY}?", external_id="gone"), make_prompt(project, external_id="stays")]
    pairs = [
        make_comparison(project, (f"{CANARY} one {i}", f"two {i} of {prompt.pk}"), prompt=prompt)
        if prompt.external_id == "gone"
        else make_comparison(project, (f"one {i}", f"two {i}"), prompt=prompt)
        for i, prompt in enumerate(prompts)
    ]
    for pair in pairs:
        make_verdict(pair, "second", judge=judge, raw=f"{CANARY if pair is pairs[0] else 'B'} is better")
        make_vote(pair, "first", user=ann)
    make_vote(pairs[1], "first", user=bob)
    flag = PairFlag.objects.create(comparison=pairs[0], user=ann, rater="ann", reason="broken", note=CANARY)
    assert flag.pk
    counts_repair(project)
    preferences_derive(project=project, now=timezone.now())
    rows = [
        {
            "id": f"comparison:{pair.pk}",
            "prompt": pair.prompt.text,
            "first": pair.first.text,
            "label_ids": [f"vote:{v.pk}"],
        }
        for pair in pairs
        for v in [Vote.objects.filter(comparison=pair).earliest("id")]
    ]
    folder = store / "letters-test" / "snapshots"
    folder.mkdir(parents=True)
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "set.jsonl").write_bytes(body)
    snapshot = Snapshot.objects.create(
        project=project,
        name="set",
        path="letters-test/snapshots/set.jsonl",
        n_pairs=2,
        sha256=hashlib.sha256(body).hexdigest(),
    )
    for pair, row in zip(pairs, rows, strict=True):
        SnapshotItem.objects.create(
            snapshot=snapshot, comparison=pair, p_first=1.0, source="human", label_ids=row["label_ids"]
        )

    def checkpoint(name: str, **fields: Any) -> Checkpoint:
        path = f"letters-test/checkpoints/{name}"
        (store / path).mkdir(parents=True)
        (store / path / "config.json").write_text(name)
        return Checkpoint.objects.create(
            project=project, name=name, role="policy", path=path, fingerprint="0", **fields
        )

    start = checkpoint("start")
    made = checkpoint("made", parent=start)
    checkpoint("child", parent=made)
    run = TrainingRun.objects.create(
        project=project, kind="dpo", snapshot=snapshot, start=start, output=made, run_dir="letters-test/runs/1"
    )
    (store / run.run_dir).mkdir(parents=True)
    lines = [{"step": 1, "loss": 0.5}, {"step": 1, "samples": [{"prompt": f"{CANARY}?", "text": "x"}, {"prompt": "y"}]}]
    (store / run.run_dir / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{half")
    return pairs


def test_a_prompt_goes_from_rows_files_and_copies_and_what_learned_from_it_is_marked(
    project, trained, store, alice, bob, client_for, api_for
):
    assert left_in_tables()
    assert left_in_files(store)
    shown = client_for(alice).get(PAGE, {"kind": "prompt", "which": "gone"})
    effect = shown.context["effect"]
    counts = (effect.n_answers, effect.n_comparisons, effect.n_votes, effect.n_verdicts, effect.n_training_sets)
    assert counts == (2, 1, 1, 1, 1)
    assert effect.learned == ("made", "child")
    assert b"made, child" in shown.content
    assert b"Delete for good" in shown.content
    dry = api_for(alice).post(API + "deletions/", {"kind": "prompt", "which": "gone", "dry_run": True}, format="json")
    assert dry.json()["effect"]["n_comparisons"] == 1
    assert Comparison.objects.count() == 2, "nothing has happened yet"
    assert api_for(bob).post(API + "deletions/", {"kind": "prompt", "which": "gone"}, format="json").status_code == 404

    answer = client_for(alice).post(PAGE, {"kind": "prompt", "which": "gone"})
    assert answer.status_code == 302
    drain(["cpu"], worker_name="w")
    assert Job.objects.get().state == "succeeded", Job.objects.get().error
    connection.check_constraints()
    assert left_in_tables() == []
    assert left_in_files(store) == []
    assert differences(project) == {}
    assert review_differences(project) == {}
    snapshot = Snapshot.objects.get()
    body = (store / snapshot.path).read_bytes()
    assert (snapshot.n_pairs, snapshot.n_erased) == (1, 1)
    assert snapshot.sha256 == hashlib.sha256(body).hexdigest()
    events = (store / "letters-test/runs/1/events.jsonl").read_text().splitlines()
    assert events == ['{"step": 1, "loss": 0.5}', '{"step":1,"samples":[{"prompt":"y"}]}', "{half"]
    marked = Checkpoint.objects.filter(learned_deleted_at__isnull=False).order_by("id")
    assert list(marked.values_list("name", flat=True)) == ["made", "child"]
    entry = AuditEvent.objects.get(verb="prompt.delete")
    assert (entry.actor, entry.data["n_comparison"], entry.data["n_vote"]) == (alice, 1, 1)
    page = client_for(alice).get(f"/p/letters-test/policies/{marked[0].pk}/").content
    assert b"learned from data that have been deleted" in page
    assert client_for(alice).post(PAGE, {"kind": "prompt", "which": "gone"}).status_code == 400, "it is gone"


@pytest.mark.parametrize("labels", ["pseudonym", "delete"])
def test_a_persons_labels_go_or_stay_under_a_pseudonym(project, trained, store, alice, ann, client_for, labels):
    Override.objects.create(
        comparison=trained[1],
        judge=Verdict.objects.first().judge,
        user=ann,
        rater="ann",
        kind="override",
        choice="tie",
        reason=CANARY,
    )
    client_for(ann).get("/p/letters-test/annotate/")
    PracticeAnswer.objects.create(user=ann, comparison=trained[0], choice="first", gold="first")
    PracticeAnswer.objects.create(user=ann, completion=trained[1].first, values={"kind": 5}, known={"kind": 4})
    effect = client_for(alice).get(PAGE, {"kind": "person", "which": "ann", "labels": labels}).context["effect"]
    assert (effect.n_votes, effect.n_decisions) == (2, 1)
    job = delete(project, alice, "person", "ann", labels)
    assert "ann" not in repr((job.payload, job.title, job.result))
    assert not Membership.objects.filter(project=project, user=ann).exists()
    assert not Vote.objects.filter(rater="ann").exists()
    assert not Vote.objects.filter(user=ann).exists()
    assert not PracticeAnswer.objects.exists()
    assert differences(project) == {}
    assert review_differences(project) == {}
    named = {row.rater for row in (*Vote.objects.all(), *Override.objects.all(), *PairFlag.objects.all())}
    assert [row for row in AuditEvent.objects.all() if "'ann'" in repr((row.target, row.data))] == []
    entry = AuditEvent.objects.get(verb="person.delete")
    assert (entry.target, entry.data["labels"], entry.data["n_labels"]) == (f"user:{ann.pk}", labels, 3)
    snapshot = Snapshot.objects.get()
    before = Preference.objects.order_by("comparison").values_list("outcome", "source")
    if labels == "delete":
        assert named == {"bob"}
        assert list(before) == [("second", "judge:rm"), ("first", "human")]
        assert (snapshot.n_pairs, snapshot.n_erased) == (0, 2), "both rows were their labels"
        assert Checkpoint.objects.get(name="child").learned_deleted_at is not None
    else:
        (pseudonym,) = named - {"bob"}
        assert pseudonym.startswith("person-")
        assert Vote.objects.filter(rater=pseudonym).count() == 2
        assert (snapshot.n_pairs, snapshot.n_erased) == (2, 0)
        assert not Checkpoint.objects.exclude(learned_deleted_at=None).exists()


def test_a_project_goes_as_a_whole_and_no_other(
    project, trained, store, alice, bob, charlie, other_project, make_vote, make_comparison
):
    make_vote(make_comparison(other_project), "first", user=charlie)
    kept = {model: model._base_manager.count() for model in (Comparison, Vote)}
    loop = Loop.objects.create(project=project, recipe="dpo", config={}, n_rounds=1, state="paused")
    with pytest.raises(RemovalRefused, match="loop"):
        removal_start(project=project, asked=Asked("project", "letters-test"), by=alice)
    Loop.objects.filter(pk=loop.pk).update(state="done")
    delete(project, alice, "project", "letters-test")
    assert left_in_tables() == []
    assert not (store / "letters-test").exists()
    for below in models_below(Project):
        rows = below.model._base_manager.all()
        theirs = [path for path in below.paths if path != "pk" and rows.filter(**{path: project.pk}).exists()]
        assert theirs == [], below.model
    assert {model: model._base_manager.count() for model in kept} == {Comparison: 1, Vote: 1}
    assert AuditEvent.objects.get(verb="project.delete").data["n_comparison"] == 2
    assert list(Project.objects.all()) == [other_project]


def test_the_only_owner_and_a_mistyped_project_stay(project, alice, ann, client_for):
    with pytest.raises(RemovalRefused, match="owner"):
        removal_start(project=project, asked=Asked("person", "alice", "delete"), by=alice)
    answer = client_for(alice).post(PAGE, {"kind": "project", "which": "letters"})
    assert answer.status_code == 400
    assert b"Type the project&#x27;s address" in answer.content
    assert client_for(alice).post(PAGE, {"kind": "person", "which": "nobody"}).status_code == 400
    assert not Job.objects.exists()


def test_retention_removes_what_it_names_and_nothing_that_was_labelled(
    project, trained, store, alice, api_for, make_vote
):
    old = timezone.now() - timedelta(days=40)
    labelled = (Vote, Override, Preference, Comparison, Verdict, Score)
    job = Job.objects.create(project=project, kind="x", queue="cpu", state="succeeded", ended_at=old)
    fresh = Job.objects.create(project=project, kind="x", queue="cpu", state="succeeded", ended_at=timezone.now())
    for one in (job, fresh):
        JobEvent.objects.create(job=one, kind="log", text="line")
    for token, at in (("old", old), ("new", timezone.now())):
        upload = Upload.objects.create(project=project, token=token, name=token, n_bytes=1)
        Upload.objects.filter(pk=upload.pk).update(created_at=at)
    unused = Checkpoint.objects.create(
        project=project, name="unused", role="policy", path="letters-test/checkpoints/unused", fingerprint="1"
    )
    (store / unused.path).mkdir()
    Verdict.objects.update(created_at=old)
    Checkpoint.objects.update(created_at=old)
    n_before = {model: model.objects.count() for model in labelled}
    said = list(Verdict.objects.values_list("outcome", "state", "p_first"))

    retention_start(timezone.now())
    assert not Job.objects.filter(kind="removal.retain").exists(), "nothing is removed unless it was chosen"
    api = api_for(alice)
    assert api.patch(API + "retention/", {"logs": 0}, format="json").status_code == 400
    answer = api.patch(API + "retention/", dict.fromkeys(KEPT, 30), format="json")
    assert answer.json() == api.get(API + "retention/").json() == dict.fromkeys(KEPT, 30)
    for _ in range(2):
        retention_start(timezone.now())
    assert Job.objects.filter(kind="removal.retain").count() == 1, "once a day"
    drain(["cpu"], worker_name="w")
    assert {model: model.objects.count() for model in labelled} == n_before
    assert list(Verdict.objects.values_list("outcome", "state", "p_first")) == said
    assert set(Verdict.objects.values_list("raw", flat=True)) == {""}
    assert set(JobEvent.objects.filter(job__project=project).values_list("job", flat=True)) == {fresh.pk}
    assert list(Upload.objects.values_list("name", flat=True)) == ["new"]
    assert list(Checkpoint.objects.order_by("id").values_list("name", flat=True)) == ["start", "made"]
    assert not (store / unused.path).exists()
    told = AuditEvent.objects.get(verb="retention.run")
    assert told.data == {"logs": 1, "raw": 2, "uploads": 1, "checkpoints": 2}
    assert told.origin.startswith("job ")
    retention_set(project=project, days={}, by=alice)
    assert Project.objects.get(pk=project.pk).retention == {}
