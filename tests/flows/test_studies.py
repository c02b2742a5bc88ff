"""`run_study` on a small letters project: what it leaves behind, and that it goes on where it stopped."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.jobs.models import Job
from apps.labels.models import Preference
from apps.reports.models import Study, StudyRun
from apps.training.models import KeptStep, Loop, TrainingRun
from prefloop.studies import catalogue
from prefloop.studies.claims import Above, Falls, PeaksLater, Rises
from prefloop.studies.declaration import Arm
from prefloop.studies.declaration import Study as Declared

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

DECLARED = {
    "title": "Three regimes",
    "question": "Does it run?",
    "finding": "Online is above offline.",
    "paper": "none",
}
SMALL = Declared(
    **DECLARED,
    name="small",
    arms=(
        Arm(
            name="online",
            title="online IPO",
            recipe="online-ipo",
            settings={"prompts.n": 16, "draws.max_tokens": 16, "objective.batch": 4, "evaluation.every": 2},
            rounds=1,
        ),
        Arm(name="tandem", title="tandem IPO", recipe="tandem-ipo", after="online"),
        Arm(name="offline", title="offline IPO", recipe="offline-ipo", settings={"objective.batch": 8}),
    ),
    claims=(Above("online", "offline"), Rises("online", "proxy")),
    seeds=2,
)


@pytest.fixture
def letters(make_letters_project, monkeypatch):
    monkeypatch.setitem(catalogue.STUDIES, "small", SMALL)
    return make_letters_project(n_labelled=16, n_eval=6)


def run(*words):
    out = io.StringIO()
    call_command("run_study", *words, stdout=out)
    return out.getvalue()


def test_a_study_runs_its_loops_and_goes_on_with_more_seeds(letters, client_for, make_user):
    report = json.loads(run("small", "--project", letters.slug, "--seeds", "1", "--json"))
    assert (report["state"], report["n_done"], report["verdict"]) == ("done", 3, "undecided")
    loops = list(Loop.objects.order_by("id"))
    assert [loop.recipe for loop in loops] == ["online-ipo", "tandem-ipo", "offline-ipo"]
    assert loops[1].chosen["memory.run"] == str(loops[0].pk)
    online, tandem, _ = (run["points"] for run in report["runs"])
    assert [point["step"] for point in online] == [0, 2, 4]  # the start, one kept on the way, the result
    assert [point["step"] for point in tandem] == [0, 4]
    assert online[0]["kl"] == 0
    assert online[0]["win"] == 0.5
    for run_, loop in zip(report["runs"], loops, strict=True):
        last = loop.rounds.get(index=1).result
        assert run_["loop"] == loop.pk
        assert run_["points"][-1]["kl"] == pytest.approx(last["kl"])
        assert run_["points"][-1]["gold"] == pytest.approx(last["gold_mean"], abs=1e-4)
        assert run_["points"][-1]["win"] == pytest.approx(last["win_rate_vs_initial"], abs=1e-4)
    rows = {row["arm"]: row["last"] for row in report["table"]["rows"]}
    assert rows["online"]["n_samples"] == loops[0].rounds.get(index=1).result["n_samples"] == 32
    assert rows["offline"]["n_samples"] == 0
    assert all(row["seconds"] > 0 for row in rows.values())
    kept = KeptStep.objects.get(run__round__loop=loops[0])
    assert online[1]["checkpoint"] == kept.checkpoint.name
    assert online[1]["win"] == pytest.approx(kept.result["win_rate_vs_initial"], abs=1e-4)
    assert all("proxy" in point for point in online)
    assert not any("proxy" in point for point in tandem)  # no reward model labels it: it has the labels of the stream

    before = list(StudyRun.objects.order_by("id").values())
    again = json.loads(run("small", "--project", letters.slug, "--json"))
    assert (again["n_done"], again["seeds_complete"]) == (6, [0, 1])
    assert list(StudyRun.objects.filter(seed=0).order_by("id").values()) == before  # nothing runs twice
    assert Loop.objects.count() == 6
    first = again["claims"][0]
    assert first["estimate"] is not None
    assert first["interval"][0] <= first["estimate"] <= first["interval"][1]
    assert not Job.objects.exclude(state="succeeded").exists()


def test_an_arm_uses_the_last_policy_and_the_reward_model_of_others_and_no_run_is_run_twice(letters, monkeypatch):
    few = {"prompts.n": 8, "draws.max_tokens": 16, "objective.batch": 4}
    arms = (
        SMALL.arms[0],
        Arm(
            name="last",
            title="pairs of the last policy",
            recipe="online-ipo",
            settings=few | {"refresh": "round"},
            rounds=1,
            after="online",
            uses="draws.source",
        ),
        Arm(name="proxy", title="proxy", recipe="reward-model", settings={"prompts.n": 8, "objective.batch": 4}),
        Arm(
            name="rloo",
            title="RLOO against it",
            recipe="rloo",
            settings=few,
            rounds=1,
            after="proxy",
            uses="score.judge",
        ),
    )
    claims = (
        Above("online", "last", by="accuracy"),
        Falls("online", "chosen"),
        Rises("rloo", "length"),
        PeaksLater("online", "rloo"),
    )
    chained = Declared(**DECLARED | {"name": "chained", "arms": arms, "claims": claims, "seeds": 1})
    monkeypatch.setitem(catalogue.STUDIES, "chained", chained)
    run("small", "--project", letters.slug, "--seeds", "1", "--json")
    report = json.loads(run("chained", "--project", letters.slug, "--json"))
    assert (report["state"], report["n_done"], report["verdict"]) == ("done", 4, "undecided")
    shared, _, _, last, proxy, rloo = Loop.objects.order_by("id")
    assert [row["loop"] for row in report["runs"]] == [shared.pk, last.pk, proxy.pk, rloo.pk]  # the first of the other
    assert last.chosen["draws.source"] == f"checkpoint:{shared.rounds.get(index=1).output.name}"
    assert rloo.judge.checkpoint == TrainingRun.objects.get(round__loop=proxy).output
    assert rloo.judge.name == "reward-model-8"  # the project's usual one does not follow it
    points = {row["arm"]: row["points"] for row in report["runs"]}
    assert points["proxy"] == []
    assert [curve["arm"] for curve in report["curves"]] == ["online", "last", "rloo"]
    assert points["online"][0]["accuracy"] == 0.5  # the start has gained nothing
    assert points["online"][0]["chosen"] == 0
    assert points["online"][-1]["chosen"] != 0
    stored = StudyRun.objects.get(study__name="chained", arm="online").points
    assert {len(point["values"]["accuracy"]) for point in stored} == {16}  # a pair of every labelled prompt
    assert set(stored[-1]["values"]["accuracy"]) <= {0.0, 0.5, 1.0}
    for point in StudyRun.objects.get(study__name="chained", arm="rloo").points:
        values = point["values"]["length"]
        assert sum(values) / len(values) == pytest.approx(point["length"], abs=0.01)


def test_a_run_of_another_study_is_not_taken_over_once_labels_have_changed(letters, monkeypatch):
    one = Declared(
        **DECLARED | {"name": "one", "arms": SMALL.arms[2:], "claims": (Rises("offline", "win"),), "seeds": 1}
    )
    for name in ("one", "two"):
        monkeypatch.setitem(catalogue.STUDIES, name, replace(one, name=name))
    run("one", "--project", letters.slug)
    run("two", "--project", letters.slug)
    assert Loop.objects.count() == 1
    Study.objects.get(name="two").delete()
    label = Preference.objects.first()
    label.derived_at = timezone.now()
    label.save()
    run("two", "--project", letters.slug)
    assert [row.loop_id for row in StudyRun.objects.order_by("study__name")] == [
        row.pk for row in Loop.objects.order_by("id")
    ]
    assert Loop.objects.count() == 2


def test_a_loop_that_fails_is_said_and_goes_on(letters, monkeypatch):
    from apps.training.rounds import advance

    monkeypatch.setattr(advance, "previous_policy", lambda loop, index: 1 / 0)
    with pytest.raises(CommandError, match=r"study small: loop \d+ \(online-ipo\) failed: division by zero"):
        run("small", "--project", letters.slug, "--seeds", "1", "--json")
    monkeypatch.undo()
    monkeypatch.setitem(catalogue.STUDIES, "small", SMALL)
    assert json.loads(run("small", "--project", letters.slug, "--seeds", "1", "--json"))["n_done"] == 3
    assert Loop.objects.count() == 3


def test_the_exact_control_needs_no_policy_and_holds(make_project):
    make_project("empty")
    said = run("tabular-control", "--project", "empty", "--seeds", "2")
    assert said.startswith("Held: online DPO and offline DPO end in the same policy, to 1e-06, they differ by at most")
    assert Loop.objects.count() == 0
    assert Study.objects.get().runs.count() == 18


def test_wrong_words_are_one_clear_error(letters):
    with pytest.raises(CommandError, match="no study 'gop'; there are:"):
        run("gop", "--project", letters.slug)
    with pytest.raises(CommandError, match="no project 'nowhere'"):
        run("small", "--project", "nowhere")
    assert "tabular-control: With full support" in run()
