"""The overview: what each person is told, that it is true, and that it stays fresh cheaply."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.core.services import audit
from apps.dashboard import demos, selectors
from apps.dashboard.belief import belief
from apps.jobs import services as jobs
from apps.jobs.models import Job
from apps.labels.services import preferences_derive
from apps.policies.models import Checkpoint
from apps.training.models import Loop, Round
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe

pytestmark = pytest.mark.django_db
PAGE = "/p/letters-test/"


@pytest.fixture
def make_loop(project, erin):
    """make_loop(("win", kl), …, state="done"): a loop with a measured round each, round 0 first."""
    start = Checkpoint.objects.create(project=project, name="start", role="policy", path="x", fingerprint="0" * 64)

    def make(*measured, state="done", stage="", review=(), recipe="iterative-dpo", judge=None):
        loop = Loop.objects.create(
            project=project,
            recipe=recipe,
            config=apply_settings(get_recipe(recipe), {"review.mode": "all"} if review else {}).to_json(),
            n_rounds=3,
            state=state,
            initial=start,
            started_by=erin,
            judge=judge,
        )
        for index, (win, half, kl) in enumerate(measured):
            result = {"win_rate_vs_initial": win, "win_rate_ci95": [win - half, win + half], "kl": kl}
            Round.objects.create(loop=loop, index=index, stage="done", output=start, result=result)
        if stage:
            Round.objects.create(loop=loop, index=len(measured), stage=stage, review_comparison_ids=list(review))
        return loop

    return make


def station(project, key):
    found = selectors.ring(project, now=timezone.now())
    return next(one for one in found.stations if one["key"] == key)


@pytest.mark.slow
def test_members_see_it_and_others_do_not(project, ann, bob, charlie, client_for):
    assert client_for(ann).get(PAGE).status_code == 200
    assert client_for(bob).get(PAGE).status_code == 200
    assert client_for(charlie).get(PAGE).status_code == 404
    assert client_for(None).get(PAGE).status_code == 302


@pytest.mark.slow
def test_an_annotator_is_told_what_to_do_and_nothing_of_judges_or_corrections(
    project, ann, bob, make_comparison, make_judge, make_verdict, client_for
):
    comparison = make_comparison(project)
    make_verdict(comparison, "first", judge=make_judge(project, "kind-judge"))
    audit(actor=bob, verb="override.create", target=f"comparison:{comparison.pk}", project=project)
    page = client_for(ann).get(PAGE).content.decode()
    assert "to annotate, blind" in page
    assert "Can the judge be trusted?" not in page
    assert "Recent events" not in page
    assert 'href="/p/letters-test/judges/"' not in page
    lead = client_for(bob).get(PAGE).content.decode()
    assert "Can the judge be trusted?" in lead
    assert "bob corrected a judge" in lead


def test_the_stations_count_what_there_is(project, make_comparison, make_judge, make_verdict, make_vote, make_prompt):
    comparison = make_comparison(project)
    make_prompt(project, split="eval")
    judge = make_judge(project, "kind-judge")
    for order in ("01", "10"):
        make_verdict(comparison, "first", judge=judge, order=order)
    make_vote(comparison, "first")
    numbers = {one["key"]: one["n"] for one in selectors.ring(project, now=timezone.now()).stations}
    assert numbers == {"prompts": 2, "samples": 2, "judges": 2, "people": 1, "training": 0, "evaluation": 0}
    assert station(project, "prompts")["note"] == "1 held out"
    assert station(project, "judges")["note"] == "1 judge"


@pytest.mark.parametrize(
    ("stage", "lit"),
    [
        ("sampling", "samples"),
        ("judging", "judges"),
        ("snapshot", "training"),
        ("training", "training"),
        ("evaluation", "evaluation"),
    ],
)
def test_the_station_of_the_round_under_way_is_lit_and_leads_to_its_loop(project, make_loop, stage, lit):
    loop = make_loop((0.5, 0.05, 0.0), state="running", stage=stage)
    states = {one["key"]: one["state"] for one in selectors.ring(project, now=timezone.now()).stations}
    assert [key for key, state in states.items() if state] == [lit]
    assert station(project, lit)["path"] == f"loops/{loop.pk}/"


def test_nothing_is_lit_when_no_loop_runs(project, make_loop):
    make_loop((0.5, 0.05, 0.0), (0.7, 0.05, 0.3))
    assert not any(one["state"] for one in selectors.ring(project, now=timezone.now()).stations)


@pytest.mark.slow
def test_a_gate_leads_to_its_reviews(project, bob, make_loop, make_comparison, make_judge, make_verdict, client_for):
    judge = make_judge(project, "a judge & more")
    ids = []
    for _ in range(3):
        comparison = make_comparison(project)
        make_verdict(comparison, "first", judge=judge)
        ids.append(comparison.pk)
    loop = make_loop((0.5, 0.05, 0.0), state="waiting", stage="review", review=ids, judge=judge)
    path = f"review/?round={loop.rounds.get(stage='review').pk}&judge=a+judge+%26+more"
    needs = selectors.needs(project, bob, now=timezone.now(), may_review=True)
    assert [(one.pk, gate.n_left, where) for one, gate, where in needs.gates] == [(loop.pk, 3, path)]
    assert station(project, "people")["path"] == path
    page = client_for(bob).get(PAGE).content.decode()
    assert page.count(path.replace("&", "&amp;")) == 2
    assert "iterative-dpo waits for these labels" in page
    assert client_for(bob).get(f"{PAGE}{path}").status_code == 200
    assert selectors.needs(project, bob, now=timezone.now(), may_review=False).gates == []


def test_the_best_loop_is_the_one_whose_gain_is_surest(project, make_loop):
    sure = make_loop((0.5, 0.03, 0.0), (0.65, 0.03, 0.2), (0.7, 0.03, 0.6))
    make_loop((0.5, 0.3, 0.0), (0.9, 0.3, 0.4))
    found = selectors.better(project)
    assert (found.loop, found.best["round"], found.answer) == (sure, 2, "yes")


@pytest.mark.parametrize(
    ("win", "half", "answer"),
    [(0.6, 0.05, "yes"), (0.55, 0.05 + 1e-9, "unclear"), (0.4, 0.05, "no"), (0.5, 0.1, "unclear")],
)
def test_better_is_said_only_where_the_interval_says_so(project, make_loop, win, half, answer):
    make_loop((0.5, 0.05, 0.0), (win, half, 0.3))
    assert selectors.better(project).answer == answer


def test_nothing_is_claimed_before_a_round_is_measured(project, make_loop, bob, client_for):
    make_loop((0.5, 0.05, 0.0), state="running", stage="sampling")
    assert selectors.better(project) is None
    assert "Not known yet" in client_for(bob).get(PAGE).content.decode()


@pytest.mark.slow
def test_the_judge_that_labels_is_held_to_the_truth(project, make_comparison, make_judge, make_verdict, make_vote):
    """Eight of ten right on balanced truth: accuracy 0.8, κ = (0.8 − 0.5) / 0.5 = 0.6."""
    assert belief(project, now=timezone.now()) is None
    labels, other = make_judge(project, "labels"), make_judge(project, "other")
    project.label_judge = "labels"
    project.save()
    for number in range(10):
        comparison = make_comparison(project)
        truth = "first" if number % 2 else "second"
        wrong = "second" if number % 2 else "first"
        for rater in ("x", "y"):
            make_vote(comparison, truth, rater=rater)
        make_verdict(comparison, wrong if number in (0, 1) else truth, judge=labels)
        make_verdict(comparison, truth, judge=other)
    preferences_derive(project=project, now=timezone.now())
    found = belief(project, now=timezone.now())
    assert found.name == "labels"
    assert (found.judge["n"], found.judge["accuracy"]) == (10, 0.8)
    assert found.judge["cohen_kappa"] == pytest.approx(0.6)
    assert found.answer in {"care", "no"}  # ten verdicts are few: the interval reaches far down
    assert found.ceiling.value == 1.0


def test_a_judge_without_truth_is_not_believed(project, make_comparison, make_verdict):
    make_verdict(make_comparison(project), "first")
    assert belief(project, now=timezone.now()).answer == "unknown"


@pytest.mark.slow
def test_the_page_asks_once_and_then_hears_204_until_something_happens(project, bob, make_comparison, client_for):
    client = client_for(bob)
    make_comparison(project)
    first = client.get(PAGE)
    since = first["X-Since"]
    assert client.get(PAGE, {"since": since}).status_code == 204
    assert first["X-Poll"] == "10"
    job = jobs.job_enqueue(kind="t.echo", queue="cpu", payload={}, project=project, title="Sample 8 answers")
    changed = client.get(PAGE, {"since": since})
    assert changed.status_code == 200
    assert changed["X-Poll"] == "2"
    assert "Sample 8 answers" in changed.content.decode()
    assert "<html" not in changed.content.decode()
    since = changed["X-Since"]
    Job.objects.filter(pk=job.pk).update(step=3, n_steps=9)
    assert "3 / 9" in client.get(PAGE, {"since": since}).content.decode()


def test_the_demo_tells_which_of_its_steps_it_is_at(project, bob, client_for):
    assert demos.seeding(project) == []

    def job(kind, state):
        Job.objects.create(project=project, kind=kind, queue="cpu", state=state)

    def states():
        return [step.state for step in demos.seeding(project)]

    job("demo.seed", "running")
    assert states() == ["running", "next", "next", "next", "next"]
    assert "The demo is being set up" in client_for(bob).get(PAGE).content.decode()
    Job.objects.update(state="succeeded")
    assert states() == ["done", "running", "next", "next", "next"]
    job("demo.seed.compare", "succeeded")
    assert states() == ["done", "done", "running", "next", "next"]
    job("demo.seed.second", "failed")
    assert states() == ["done", "done", "done", "failed", "next"]
    Job.objects.filter(kind="demo.seed.second").update(state="succeeded")
    job("demo.seed.finish", "running")
    assert states() == ["done", "done", "done", "done", "running"]
    Job.objects.update(state="succeeded")
    assert states() == []


def test_events_are_told_newest_first_and_repeated_ones_in_one_line(project, bob, erin):
    audit(actor=erin, verb="loop started", target="loop 7 (dpo)", project=project)
    for number in range(5):
        audit(actor=bob, verb="override.create", target=f"comparison:{number}", project=project)
    audit(actor=None, verb="data.import", target="batch:1", project=project)
    for number in range(2, 4):
        audit(actor=erin, verb="data.import", target=f"batch:{number}", project=project)
    for name in ("ann", "bob", "charlie"):
        audit(actor=None, verb="member.add", target=f"user:{name}", project=project)
    lines = selectors.recent_events(project)
    assert [line.text for line in lines] == [
        "3 people were added",
        "erin imported 2 files",
        "A file was imported",
        "bob corrected judges 5 times",
        "erin started loop 7 (dpo)",
    ]
    assert lines[4].path == "loops/7/"


def test_events_of_another_project_stay_there(project, other_project, charlie):
    audit(actor=charlie, verb="loop started", target="loop 1 (dpo)", project=other_project)
    assert selectors.recent_events(project) == []


def test_an_empty_project_says_the_one_next_step(project, bob, client_for):
    page = client_for(bob).get(PAGE).content.decode()
    assert "Start with data" in page
    assert "import_records FILE --project letters-test" in page


def test_a_project_card_leads_to_its_overview(project, bob, client_for):
    assert 'href="/p/letters-test/"' in client_for(bob).get("/").content.decode()


@pytest.mark.slow
def test_the_page_asks_a_bounded_number_of_questions(
    project, bob, make_loop, make_comparison, client_for, django_assert_max_num_queries
):
    for _ in range(3):
        make_loop((0.5, 0.05, 0.0), (0.7, 0.05, 0.3))
        make_comparison(project)
    client = client_for(bob)
    with django_assert_max_num_queries(70):
        since = client.get(PAGE)["X-Since"]
    with django_assert_max_num_queries(24):
        assert client.get(PAGE, {"since": since}).status_code == 204
