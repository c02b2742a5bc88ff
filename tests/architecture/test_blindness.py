"""Whoever was shown a label can't vote blind: every route, for every role, in a world whose labels are turned round.

A route that is not declared in LABELS answers the same, byte for byte, whatever was said of a comparison. One that
tells of single comparisons leaves an exposure behind; one that tells figures over many names none of them.
"""

from __future__ import annotations

import hashlib
import re
from types import SimpleNamespace

import pytest
from django.utils import timezone

from apps.core.services import audit
from apps.judging.models import Alignment
from apps.labels.models import Override, Score, Verdict, Vote
from apps.labels.review_counts import reviews_counted
from apps.labels.services import preferences_derive
from apps.samples.models import Exposure
from prefloop.judging.examples import may_align
from tests.architecture.telling import LABELS
from tests.architecture.test_routes import FOUND

pytestmark = pytest.mark.django_db
ROLES = ("alice", "erin", "bob", "ann")
SAID = ("first", "second")  # what everybody says in the one world, and in the other
QUERIES = {
    "p/<slug:slug>/data/": "format=records",
    "p/<slug:slug>/data/export/": "format=records",
    "p/<slug:slug>/review/": "show=all",
    "p/<slug:slug>/review/split/": "show=done",
    "api/v1/projects/<slug:slug>/adjudications/": "decided=true",
    # of labels alone: asking for exports here is an act too
    "p/<slug:slug>/settings/audit/": "area=labels",
    "api/v1/projects/<slug:slug>/audit/": "area=labels",
}
UNDECIDED = {"p/<slug:slug>/review/several/"}  # what lists only pairs that nobody has reviewed
NOT_ASKED = {"account/logout/", "login/<str:token>/", "invitation/<str:token>/"}  # nobody's project
# these tell of gold pairs alone, and the pair here can't be one: tests/apps/rankings/test_gold.py
OF_GOLD = {"p/<slug:slug>/review/gold/", "api/v1/projects/<slug:slug>/gold/"}


@pytest.fixture
def world(project, make_prompt, make_completion, make_comparison, make_judge, settings, tmp_path):
    """A comparison of which everything was said, in the training set of a loop; and one of which nothing was."""
    from apps.jobs.models import Job
    from apps.policies.models import Checkpoint
    from apps.samples.models import SamplingRun
    from apps.training.models import Loop, Round, Snapshot, SnapshotItem, TrainingRun
    from prefloop.recipes.catalogue import get_recipe

    settings.STORE_DIR = tmp_path
    start = Checkpoint.objects.create(project=project, name="start", role="policy", path="x", fingerprint="0" * 64)
    made = Checkpoint.objects.create(
        project=project, name="made", role="policy", path="y", fingerprint="1" * 64, parent=start
    )
    text = next(text for n in range(99) if may_align("main", text := f"Thank Maria for the flowers, {n}."))
    prompt = make_prompt(project, text)
    sampling = SamplingRun.objects.create(project=project, checkpoint=start, n=2, prompt_ids=[prompt.pk])
    answers = [make_completion(prompt, f"answer {k}", run=sampling, index=k) for k in range(2)]
    from apps.samples.models import Comparison

    pair = Comparison.objects.create(project=project, prompt=prompt, first=answers[0], second=answers[1])
    untouched = make_comparison(project)
    judge = make_judge(project, "main", checkpoint=None, order_policy="random")  # one order is a label
    project.label_judge = "main"
    project.save()
    Verdict.objects.create(judge=judge, comparison=pair, order="01", state="ok", outcome="first")
    Vote.objects.create(comparison=pair, rater="somebody", choice="first", order="01")
    Vote.objects.create(comparison=pair, rater="somebody else", choice="first", order="01")
    Vote.objects.create(comparison=pair, rater="torn", choice="tie", order="01")  # so that people split
    Vote.objects.create(comparison=pair, rater="a lead", choice="first", adjudication=True)
    Override.objects.create(comparison=pair, judge=judge, rater="someone", kind="override", choice="first")
    with reviews_counted([pair.pk]):
        pass
    for answer in answers:
        Score.objects.create(judge=judge, completion=answer, value=0.0)
    content = b'{"pair": 1}\n'
    (tmp_path / "set.jsonl").write_bytes(content)
    snapshot = Snapshot.objects.create(
        project=project, name="set", path="set.jsonl", sha256=hashlib.sha256(content).hexdigest(), n_pairs=1
    )
    item = SnapshotItem.objects.create(snapshot=snapshot, comparison=pair, p_first=1.0, source="override")
    loop = Loop.objects.create(
        project=project, recipe="dpo", config=get_recipe("dpo").to_json(), n_rounds=1, state="done", initial=start
    )
    round_ = Round.objects.create(loop=loop, index=1, stage="done", output=made)
    TrainingRun.objects.create(
        project=project, round=round_, kind="dpo", snapshot=snapshot, start=start, output=made, run_dir="run"
    )
    call = {
        "comparison": pair.pk,
        "of": "01",
        "state": "ok",
        "outcome": "first",
        "raw": "r",
        "rationale": "",
        "p_first": None,
        "value": None,
        "seconds": 1.0,
    }
    trial = Job.objects.create(project=project, kind="judging.trial", queue="cpu", state="succeeded")
    figures = dict.fromkeys(("before", "after", "difference", "n_unread_before", "n_unread_after", "n_changed"), 0.5)
    figures |= {name: [0.1, 0.9] for name in ("before_ci95", "after_ci95", "difference_ci95")}
    figures |= {"n": 1, "n_prompts": 1, "consistency_before": None, "consistency_after": None}
    alignment = Alignment.objects.create(
        judge=judge, criterion="c", pairs=[{"comparison": pair.pk, "truth": "first"}], figures=figures
    )
    for is_new, outcome in ((False, "tie"), (True, "first")):
        alignment.verdicts.create(comparison=pair, is_new=is_new, order="01", state="ok", outcome=outcome)
    return SimpleNamespace(**locals())


def turn(world, said):
    """Let everybody say this of the pair, in words that no other page has."""
    words = f"because-of-{said}"
    p = 1.0 if said == "first" else 0.0
    Verdict.objects.update(outcome=said, p_first=0.9 * p + 0.05, rationale=words, raw=words)
    Vote.objects.exclude(rater="torn").update(
        choice=SAID[said == "first"], reason=words
    )  # people see it otherwise: the report names the pair
    Override.objects.update(choice=said, judge_outcome=SAID[said == "first"])
    world.alignment.verdicts.filter(is_new=True).update(outcome=said)
    for score in Score.objects.all():
        better = (score.completion_id == world.pair.first_id) == (said == "first")
        Score.objects.filter(pk=score.pk).update(value=7.25 if better else -3.5)
    world.snapshot.items.update(p_first=p)
    content = f'{{"chosen": "{said}"}}\n'.encode()
    (world.tmp_path / "set.jsonl").write_bytes(content)
    type(world.snapshot).objects.update(sha256=hashlib.sha256(content).hexdigest())
    world.trial.result = {
        "calls": [world.call | {"outcome": said}],
        "labels": {str(world.pair.pk): {"outcome": said, "state": "ok", "p_first": None}},
    }
    world.trial.save()
    preferences_derive(project=world.project, now=timezone.now())


def path_of(route, world):
    for end, value in (
        ("exports/<slug:shape>", "records"),
        ("trials/<int:pk>", world.trial.pk),
        ("alignments/<int:pk>", world.alignment.pk),
        ("runs/<int:pk>", world.sampling.pk),
        ("jobs/<int:job_id>", world.trial.pk),
        ("judges/<int:pk>", world.judge.pk),
        ("prompts/<int:pk>", world.prompt.pk),
        ("comparisons/<int:pk>", world.pair.pk),
        ("<int:comparison_id>", world.pair.pk),
        ("<int:answer_id>", world.pair.first_id),
        ("policies/<int:pk>/best-of-n", world.start.pk),
        ("policies/<int:pk>", world.made.pk),
        ("loops/<int:pk>", world.loop.pk),
        ("snapshots/<int:pk>", world.snapshot.pk),
    ):
        if end in route:
            route = route.replace(end, re.sub(r"<[^>]+>", str(value), end))
    route = re.sub(r"<slug:slug>", world.project.slug, route)
    route = route.replace("<slug:recipe>", "dpo")
    return "/" + re.sub(r"<[^>]+>", "999999", route)


def text_of(response):
    raw = b"".join(response.streaming_content) if response.streaming else response.content
    text = raw.decode("utf-8", "replace")
    # what differs from one answer to the next for other reasons
    text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"|"X-CSRFToken": "\w+"', "", text)
    text = re.sub(r'data-assignment="\d+"|value="\d+"|datetime="[^"]+"|[\da-f]{12,64}', "", text)
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.+Z]*|\d+(\.\d+)? (seconds?|min) ago|just now|now", "", text)


def _first(one, other):
    """Where two texts part, for whoever reads the failure."""
    at = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{one[max(0, at - 60) : at + 60]!r} / {other[max(0, at - 60) : at + 60]!r}"


def ask(client, route, world):
    query = QUERIES.get(route, "")
    Exposure.objects.all().delete()
    decisions = list(Override.objects.all()) if route in UNDECIDED else []
    with reviews_counted([world.pair.pk]):
        Override.objects.filter(pk__in=[one.pk for one in decisions]).delete()
    response = client.get(path_of(route, world) + (f"?{query}" if query else ""))
    with reviews_counted([world.pair.pk]):
        Override.objects.bulk_create(decisions)
    return response.status_code, text_of(response), Exposure.objects.filter(comparison=world.pair).exists()


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_no_route_tells_a_label_that_it_does_not_declare_and_record(role, request, world, client_for, api_for):
    person = request.getfixturevalue(role)
    browser, program = client_for(person), api_for(person)
    audit(actor=person, verb="flag.reopen", target="flag:1", project=world.project)  # the log has a person and an act
    told: dict[str, list] = {}
    # the owner's pages and the annotator's are compared in both worlds; between them the roles differ by gates alone
    for said in SAID if role in {"alice", "ann"} else SAID[:1]:
        turn(world, said)
        for route in FOUND:
            if route in NOT_ASKED or "static" in route:
                continue
            told.setdefault(route, []).append(ask(program if route.startswith("api/v1") else browser, route, world))
    wrong = []
    for route, answers in told.items():
        (status, one, seen), (_, other, also_seen) = answers[0], answers[-1]
        kind = LABELS.get(route, "none")
        names_it = "because-of-" in one + other
        if kind == "none" and (one != other or seen or also_seen or names_it):
            wrong.append(f"{route} ({status}) depends on what was said, and does not declare it: {_first(one, other)}")
        if kind == "many" and (names_it or seen or also_seen):
            wrong.append(f"{route} ({status}) tells of a single comparison")
        if kind == "one" and (one != other or names_it) and not (seen and also_seen):
            wrong.append(f"{route} ({status}) tells a label and does not record it")
        if kind == "one" and role == "alice" and status == 200 and one == other and route not in OF_GOLD:
            wrong.append(f"{route} ({status}) is declared to tell labels and tells none")
    assert not wrong, "\n".join(wrong)


def test_every_declared_route_is_a_route():
    assert [route for route in LABELS if route not in FOUND] == []
