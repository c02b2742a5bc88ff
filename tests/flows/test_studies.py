"""`run_study` on a small letters project: what it leaves behind, and that it goes on where it stopped."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from apps.jobs.models import Job
from apps.reports.models import Study, StudyRun
from apps.training.models import KeptStep, Loop
from prefloop.studies import catalogue
from prefloop.studies.claims import Above, Rises
from prefloop.studies.declaration import Arm
from prefloop.studies.declaration import Study as Declared

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SMALL = Declared(
    name="small",
    title="Online, tandem and offline IPO",
    question="Does it run?",
    finding="Online is above offline.",
    paper="none",
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
