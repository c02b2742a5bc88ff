"""The laboratory: what a study's page, files and API say of stored runs, who may start one, and what it then does."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.jobs.models import Job
from apps.jobs.services import job_claim, reconcile
from apps.judging.services import judge_create
from apps.labels.models import Preference
from apps.policies.models import Checkpoint
from apps.reports.laboratory.report import study_report
from apps.reports.laboratory.running import (
    ADVANCE,
    MEASURE,
    StudyRefused,
    loop_heard,
    study_advance,
    study_start,
    study_stop,
)
from apps.reports.models import Study, StudyRun, StudyState
from apps.training.models import Loop, LoopState
from prefloop.stats.overoptimisation import gold_reward
from prefloop.studies.catalogue import STUDIES, get_study
from tests.gap_study import HELD, stored_gap_study

pytestmark = pytest.mark.django_db
PAGE = "/p/letters-test/reports/laboratory/gap/"
ALL = "/p/letters-test/reports/laboratory/"


@pytest.fixture
def policy(project):
    """What loops need: a policy, prompts of both splits, and a judge that scores."""
    from apps.labels.models import Judge
    from apps.policies.models import Checkpoint

    fields = {"project": project, "path": "x", "fingerprint": "0" * 64, "n_parameters": 1000}
    reward = Checkpoint.objects.create(name="rm", role="reward", **(fields | {"path": "y"}))
    Judge.objects.create(project=project, name="reward-model", kind="reward_model", checkpoint=reward)
    return Checkpoint.objects.create(name="start", role="policy", is_default=True, **fields)


@pytest.fixture
def startable(project, policy, make_prompt, make_comparison):
    from apps.labels.models import Preference

    project.world = "letters"
    project.save()
    for split in ("train", "eval"):
        make_prompt(project, split=split)
    comparison = make_comparison(project)
    Preference.objects.create(
        comparison=comparison, outcome="first", p_first=1.0, source="human:majority", derived_at=timezone.now()
    )
    return project


@pytest.fixture
def make_study(project):
    """make_study(levels, seeds=3): the gap study with finished runs; `levels` gives each arm's win rate a nat."""
    return partial(stored_gap_study, project)


def test_a_finding_that_held_is_said_with_its_numbers_and_how_much_it_rests_on(make_study, project):
    make_study(HELD)
    report = study_report(project=project, declared=get_study("gap"))
    assert report["verdict"] == "held"
    assert [claim["verdict"] for claim in report["claims"]] == ["held", "held"]
    first = report["claims"][0]
    # .08 a nat, at the mean of 4/6 … 4 nats
    assert first["estimate"] == pytest.approx(0.08 * np.mean([4 * k / 6 for k in range(1, 7)]), abs=0.02)
    number = f"{first['estimate']:+.3f} [{first['interval'][0]:+.3f}, {first['interval'][1]:+.3f}]"
    assert report["sentence"].startswith(f"Held: online IPO is above offline IPO at equal KL, {number}; ")
    assert report["sentence"].endswith("(3 seeds, 40 held-out prompts).")
    assert [len(curve["points"]) for curve in report["curves"]] == [7, 7, 7]
    assert report["table"]["kl"] == 4.0
    assert [row["arm"] for row in report["table"]["rows"]] == ["online", "tandem", "offline"]
    best = report["table"]["rows"][0]
    assert best["mean"] == pytest.approx(0.9, abs=0.01)
    assert best["ci95"][0] < best["mean"] < best["ci95"][1]
    assert best["last"]["gold"] == pytest.approx(3 * best["last"]["win"])


def test_one_that_did_not_is_said_to_and_one_seed_decides_nothing(make_study, project):
    make_study({"online": 0.02, "tandem": 0.06, "offline": 0.10})
    report = study_report(project=project, declared=get_study("gap"))
    assert report["sentence"].startswith(
        "Did not hold: it is not true that online IPO is above offline IPO at equal KL, \u2212"
    )
    Study.objects.all().delete()
    make_study(HELD, seeds=1)
    report = study_report(project=project, declared=get_study("gap"))
    assert report["verdict"] == "undecided"
    assert report["sentence"].startswith(
        "Not decidable at this size: it is open whether online IPO is above offline IPO"
    )


def test_only_seeds_whose_runs_are_all_done_are_decided_on(make_study, project):
    make_study(HELD, leave_out={("offline", 2)})
    report = study_report(project=project, declared=get_study("gap"))
    assert (report["seeds_complete"], report["n_done"], report["n_runs"]) == ([0, 1], 16, 18)
    assert report["sentence"].endswith("(2 seeds, 40 held-out prompts).")


def test_the_page_shows_verdict_figure_and_a_way_to_every_loop(make_study, client_for, bob, project, policy):
    study = make_study(HELD)
    loop = Loop.objects.create(
        project=project, recipe="online-ipo", config={}, n_rounds=1, state="done", initial=policy
    )
    StudyRun.objects.filter(study=study, arm="online", seed=0).update(loop=loop)
    page = client_for(bob).get(PAGE).content.decode()
    assert "Held: online IPO is above offline IPO at equal KL" in page
    assert page.count("<svg") >= 2
    assert f'href="/p/letters-test/loops/{loop.pk}/"' in page
    assert "objective.lr=0.0001 or 0.0003" in page
    assert "Only engineers of the project can run studies." in page
    overview = client_for(bob).get(ALL).content.decode()
    assert "18 of 18 runs" in overview
    assert overview.count("Not run yet") == len(STUDIES) - 1


@pytest.mark.slow
def test_a_live_page_answers_nothing_while_nothing_changes(make_study, client_for, bob):
    study = make_study(HELD)
    Study.objects.update(state="running")
    first = client_for(bob).get(PAGE)
    assert "<live-region" in first.content.decode()
    assert client_for(bob).get(f"{PAGE}?since={first['X-Since']}").status_code == 204
    StudyRun.objects.filter(study=study, seed=2).update(ended_at=None)
    part = client_for(bob).get(f"{PAGE}?since={first['X-Since']}")
    assert part.status_code == 200
    assert "<html" not in part.content.decode()


@pytest.mark.slow
def test_the_files_and_the_api_hold_the_same_report(make_study, client_for, api_for, bob, project):
    make_study(HELD)
    report = json.loads(json.dumps(study_report(project=project, declared=get_study("gap"))))
    assert json.loads(client_for(bob).get(PAGE.rstrip("/") + ".json").content) == report
    assert api_for(bob, "read").get("/api/v1/projects/letters-test/studies/gap/").json() == report
    rows = dict(csv.reader(io.StringIO(client_for(bob).get(PAGE.rstrip("/") + ".csv").content.decode())))
    assert rows["verdict"] == "held"
    assert "<svg" in client_for(bob).get(PAGE.rstrip("/") + ".html").content.decode()
    several = api_for(bob, "read").get("/api/v1/projects/letters-test/studies/").json()
    states = {one["study"]: one["state"] for one in several}
    assert states == dict.fromkeys(STUDIES, "not started") | {"gap": "done"}


def test_a_study_that_has_not_run_says_so(client_for, bob):
    page = client_for(bob).get(PAGE).content.decode()
    assert "Not run in this project yet." in page
    assert "run_study gap --project letters-test" in page
    assert client_for(bob).get(ALL + "gop/").status_code == 404


@pytest.mark.parametrize("path", ["", "gap/", "gap.json", "gap.csv", "gap.html"])
def test_a_stranger_an_annotator_and_another_projects_owner_see_nothing(path, client_for, ann, charlie, project):
    assert client_for(None).get(ALL + path).status_code == 302
    assert client_for(ann).get(ALL + path).status_code == 404
    assert client_for(charlie).get(ALL + path).status_code == 404


# --- starting and going on --------------------------------------------------------------------------------------------


def test_an_engineer_starts_a_study_and_a_lead_may_not(client_for, api_for, bob, erin, startable):
    assert client_for(bob).post(PAGE + "run/", {"seeds": "2"}).status_code == 404
    assert api_for(bob).post("/api/v1/projects/letters-test/studies/gap/", {}, format="json").status_code == 404
    assert not Study.objects.exists()
    assert client_for(erin).post(PAGE + "run/", {"seeds": "0"}).status_code == 400
    assert client_for(erin).post(PAGE + "run/", {"seeds": "2", "budget": "5"}).status_code == 302
    study = Study.objects.get()
    assert (study.n_seeds, study.state, study.started_by) == (2, "running", erin)
    assert study.runs.count() == 12
    answer = api_for(erin).post("/api/v1/projects/letters-test/studies/gap/", {"seeds": 3}, format="json")
    assert (answer.status_code, answer.json()["n_runs"]) == (202, 18)
    assert (
        api_for(erin).post("/api/v1/projects/letters-test/studies/gap/", {"seeds": 99}, format="json").status_code
        == 400
    )
    assert client_for(bob).post(PAGE + "stop/").status_code == 404
    assert client_for(erin).post(PAGE + "stop/").status_code == 302
    study.refresh_from_db()
    assert study.state == "stopped"
    Study.objects.update(state="running")
    stopped = api_for(erin).post("/api/v1/projects/letters-test/studies/gap/stop/")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert api_for(erin).post("/api/v1/projects/letters-test/studies/no-such/stop/").status_code == 404


def test_a_project_without_a_policy_is_refused_and_nothing_is_written(project, client_for, erin):
    with pytest.raises(StudyRefused, match="no policy to start from"):
        study_start(project=project, name="gap", now=timezone.now())
    assert not Study.objects.exists()
    assert not Job.objects.exists()
    assert "no policy to start from" in client_for(erin).get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("options", "said"), [({"n_seeds": 0}, "between 1 and 50"), ({"budget_minutes": 0.0}, "above 0")]
)
def test_a_number_that_means_nothing_is_refused(startable, options, said):
    with pytest.raises(StudyRefused, match=said):
        study_start(project=startable, name="gap", now=timezone.now(), **options)
    assert not Study.objects.exists()


def started(project, **options):
    return study_start(project=project, name="gap", n_seeds=1, now=timezone.now(), **options)


def advance(study):
    study_advance(study_id=study.pk, now=timezone.now())


def end(run, state=LoopState.DONE):
    run.refresh_from_db()
    Loop.objects.filter(pk=run.loop_id).update(state=state)
    loop_heard(run.loop_id)


def test_one_loop_runs_at_a_time_and_each_is_measured_before_the_next(startable):
    study = started(startable)
    advance(study)
    advance(study)  # twice: nothing more happens while a loop is under way
    loop = Loop.objects.get()
    assert (loop.recipe, loop.n_rounds, loop.seed) == ("online-ipo", 1, 0)
    assert loop.chosen == {"prompts.n": 768, "evaluation.every": 8, "objective.lr": 1e-4}
    run = StudyRun.objects.get(loop=loop)
    n = Job.objects.filter(kind=ADVANCE).count()
    end(run)
    assert Job.objects.filter(kind=ADVANCE).count() == n + 1  # the loop's end is heard
    advance(study)
    assert Job.objects.get(kind=MEASURE).payload == {"run": run.pk}
    StudyRun.objects.filter(pk=run.pk).update(ended_at=timezone.now())
    advance(study)
    faster = Loop.objects.latest("pk")
    assert (faster.recipe, faster.chosen["objective.lr"]) == ("online-ipo", 3e-4)


def test_a_replay_learns_from_the_run_of_its_own_rate(startable):
    study = started(startable)
    for _ in range(4):
        advance(study)
        run = StudyRun.objects.exclude(loop=None).latest("loop_id")
        end(run)
        StudyRun.objects.filter(pk=run.pk).update(ended_at=timezone.now())
    slow, fast, *tandems = Loop.objects.order_by("pk")
    assert [(loop.recipe, loop.chosen["objective.lr"]) for loop in tandems] == [
        ("tandem-ipo", 1e-4),
        ("tandem-ipo", 3e-4),
    ]
    assert [loop.chosen["memory.run"] for loop in tandems] == [str(slow.pk), str(fast.pk)]


def test_a_finished_loop_is_read_again_only_while_its_judge_is_the_newest(startable, policy):
    def began(name):
        advance(study_start(project=startable, name=name, n_seeds=1, now=timezone.now()))
        run = StudyRun.objects.filter(study__name=name).exclude(loop=None).get()
        end(run)
        Study.objects.update(state="stopped")
        return run.loop

    Preference.objects.update(derived_at=timezone.now() - timedelta(days=1))
    first = began("gap")
    assert first.judge.version == 1
    assert began("quality") == first
    newer = Checkpoint.objects.create(
        project=startable, name="rm2", role="reward", path="z", fingerprint="1" * 64, n_parameters=1000
    )
    judge_create(project=startable, name="reward-model", kind="reward_model", checkpoint=newer)
    again = began("classifier")
    assert again != first
    assert again.judge.version == 2


def test_a_loop_that_failed_stops_the_study_which_can_go_on(startable):
    study = started(startable)
    advance(study)
    run = StudyRun.objects.exclude(loop=None).get()
    end(run, LoopState.FAILED)
    advance(study)
    study.refresh_from_db()
    assert study.state == "failed"
    assert f"loop {run.loop_id} (online-ipo) failed" in study.error
    again = started(startable)
    run.refresh_from_db()
    assert (again.pk, again.state, again.error) == (study.pk, "running", "")
    assert run.loop.state == LoopState.RUNNING  # the same loop goes on


@pytest.mark.parametrize("kind", [ADVANCE, MEASURE])
def test_a_study_whose_job_was_lost_for_good_has_failed_and_can_go_on(startable, kind):
    study = started(startable)
    advance(study)
    run = StudyRun.objects.exclude(loop=None).get()
    end(run)
    if kind == MEASURE:
        advance(study)
    job = Job.objects.filter(kind=kind).latest("pk")
    Job.objects.exclude(pk=job.pk).delete()
    Job.objects.update(max_attempts=1)
    job_claim(queues=["cpu", "gpu"], worker="w")
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reconcile().n_failed == 1
    study.refresh_from_db()
    assert (study.state, study.error) == ("failed", "attempt 1 of 1 was lost: its lease ran out")
    assert started(startable).state == "running"


def test_after_its_budget_no_run_starts_and_what_has_begun_is_measured(startable):
    study = started(startable, budget_minutes=5)
    advance(study)
    Study.objects.update(stop_at=timezone.now())
    run = StudyRun.objects.exclude(loop=None).get()
    end(run)
    advance(study)
    assert Job.objects.filter(kind=MEASURE).count() == 1
    StudyRun.objects.filter(pk=run.pk).update(ended_at=timezone.now())
    advance(study)
    study.refresh_from_db()
    assert (study.state, Loop.objects.count()) == ("stopped", 1)


def test_a_stopped_study_starts_nothing(startable):
    study = started(startable)
    study_stop(study=study, by=None, now=timezone.now())
    advance(study)
    assert not Loop.objects.exists()


def test_a_law_of_over_optimisation_is_fitted_and_said(project, client_for, bob):
    declared = get_study("goodhart")
    study = Study.objects.create(project=project, name="goodhart", n_seeds=3, state=StudyState.DONE)
    kls = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    for one in declared.planned(3):
        rows = [
            {
                "step": step,
                "kl": kl,
                "values": {
                    "win": [0.5] * 20,
                    "gold": [float(gold_reward(kl**0.5, form="rl", alpha=1.0, beta=0.7)) + 0.01 * k for k in range(20)],
                    "proxy": [kl + 0.01 * k for k in range(20)],
                },
                "length": 100.0,
            }
            for step, kl in enumerate(kls)
        ]
        StudyRun.objects.create(study=study, arm="rloo", seed=one.seed, points=rows, ended_at=timezone.now())
    report = study_report(project=project, declared=declared)
    assert report["verdict"] == "held"
    (law,) = report["laws"]
    assert (law["alpha"], law["beta"]) == (pytest.approx(1.0), pytest.approx(0.7))
    assert law["observed_kl"] == 2.0
    page = client_for(bob).get(ALL + "goodhart/").content.decode()
    assert "α 1.000 [1.000, 1.000], β 0.700 [0.700, 0.700]; its peak is predicted at 2.4 nats" in page


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_document_holds_verdicts_tables_and_drawings_that_stand_alone(make_study, project, tmp_path):
    make_study(HELD)
    to = tmp_path / "laboratory.md"
    call_command("document_studies", "--project", project.slug, "--to", str(to), stdout=io.StringIO())
    text = to.read_text("utf-8")
    assert f"**{study_report(project=project, declared=get_study('gap'))['sentence']}**" in text
    assert "![On-policy against offline IPO, and the data of one for the other](figures/gap.svg)" in text
    assert text.count("| online IPO | objective.lr") == 6
    assert "`gap-bo2` (Without a contrast" in text.split("## Declared, not run here")[1]
    drawn = (tmp_path / "figures" / "gap.svg").read_text("utf-8")
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "<a " not in drawn
    assert not set(re.findall(r"var\((--[\w-]+)\)", drawn)) - set(re.findall(r"(--[\w-]+):", drawn))
    # what has run elsewhere alone stays as it was said
    Study.objects.all().delete()
    call_command("document_studies", "--project", project.slug, "--to", str(to), stdout=io.StringIO())
    assert to.read_text("utf-8") == text


def test_a_document_has_somewhere_to_go(project):
    with pytest.raises(CommandError, match="no project 'x'"):
        call_command("document_studies", "--project", "x")
    with pytest.raises(CommandError, match="there is no folder"):
        call_command("document_studies", "--project", project.slug, "--to", "/nowhere/at/all.md")
