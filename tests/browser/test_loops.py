"""Loops in a real browser: choose a recipe, see what it will cost, start it, and watch it run to the end."""

from __future__ import annotations

import hashlib

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from apps.jobs.models import Job, JobGroup
from apps.labels.models import Judge, Verdict
from apps.labels.review_counts import reviews_counted
from apps.policies.models import Checkpoint
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.training.loops.steering import loop_change
from apps.training.models import Counterfactual, Loop, Metric, Round, Snapshot, SnapshotItem, TrainingRun
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe

pytestmark = pytest.mark.django_db(transaction=True)
LOOPS = "/p/letters-test/loops/"


@pytest.fixture
def ready(transactional_db, project, make_prompt, settings, tmp_path):
    """Prompts, a policy and a reward model: iterative DPO can start."""
    settings.STORE_DIR = tmp_path / "store"
    for number in range(6):
        make_prompt(project, f"Thank Maria for gift {number}.", split="train")
    make_prompt(project, "Thank Peter for the lamp.", split="eval")

    def checkpoint(name, role="policy", **more):
        digest = hashlib.sha256(name.encode()).hexdigest()
        return Checkpoint.objects.create(project=project, name=name, role=role, path=name, fingerprint=digest, **more)

    checkpoint("letters-sft", is_default=True)
    scorer = checkpoint("scorer", "reward")
    Judge.objects.create(
        project=project, name="reward-model", kind="reward_model", checkpoint=scorer, order_policy="random"
    )
    return project


@pytest.fixture
def running(ready, erin):
    """A loop in training in its second round, with one round behind it."""
    start = Checkpoint.objects.get(name="letters-sft")
    judge = Judge.objects.get(name="reward-model")
    loop = Loop.objects.create(
        project=ready,
        recipe="iterative-dpo",
        config=get_recipe("iterative-dpo").to_json(),
        n_rounds=3,
        state="running",
        initial=start,
        judge=judge,
        started_by=erin,
    )
    for index in (0, 1):
        win = 0.5 + 0.2 * index
        Round.objects.create(
            loop=loop,
            index=index,
            stage="done",
            policy=start,
            output=start,
            result={
                "gold_mean": 2.1 + index,
                "gold_ci95": [2.0 + index, 2.2 + index],
                "win_rate_vs_initial": win,
                "win_rate_ci95": [win - 0.04, win + 0.04],
                "kl": 0.26 * index,
                "mean_length": 120,
            },
        )
    first_round = loop.rounds.get(index=1)
    frozen = Snapshot.objects.create(
        project=ready, name="loop-1-round-1", path="one", sha256="cd" * 32, n_pairs=12, n_overrides=2
    )
    made = TrainingRun.objects.create(
        project=ready, round=first_round, kind="dpo", snapshot=frozen, output=start, run_dir="runs/0"
    )
    alone = TrainingRun.objects.create(project=ready, kind="dpo", start=made.start, run_dir="runs/00")
    Counterfactual.objects.create(
        round=first_round,
        run=alone,
        state="done",
        n_changed=2,
        started_by=erin,
        result=first_round.result | {"gold_mean": 2.6, "gold_ci95": [2.5, 2.7]},
    )
    loop_change(loop=loop, settings={"objective.beta": 0.5}, by=erin)
    prompt = ready.prompts.filter(split="train").first()
    sampling = SamplingRun.objects.create(project=ready, checkpoint=start, prompt_ids=[prompt.pk], n=2)
    first, second = (
        Completion.objects.create(project=ready, prompt=prompt, run=sampling, index=index, text=text)
        for index, text in enumerate(("Dear Maria, thank you for the gift.", "Hey, got it."))
    )
    comparison = Comparison.objects.create(
        project=ready, prompt=prompt, first=first, second=second, origin=f"loop:{loop.pk}:2"
    )
    with reviews_counted([comparison.pk]):
        said = {"order": "01", "state": "ok", "outcome": "first", "p_first": 0.83}
        Verdict.objects.create(judge=judge, comparison=comparison, **said)
    group = JobGroup.objects.create(project=ready, name="training", open_count=1)
    Job.objects.create(
        project=ready,
        group=group,
        kind="training.run",
        queue="gpu",
        title="Train (dpo)",
        state="running",
        n_steps=20,
        started_at=timezone.now(),
    )
    round_ = Round.objects.create(
        loop=loop, index=2, stage="training", policy=start, sampling_run=sampling, group=group
    )
    snapshot = Snapshot.objects.create(project=ready, name="set", path="set", sha256="ab" * 32, n_pairs=1)
    SnapshotItem.objects.create(snapshot=snapshot, comparison=comparison, p_first=1.0, source="judge:reward-model")
    run = TrainingRun.objects.create(
        project=ready, round=round_, kind="dpo", snapshot=snapshot, run_dir="runs/1", n_steps=20, step=10
    )
    for step in range(1, 11):
        values = {
            "loss": 0.7 - 0.02 * step,
            "rewards/margins": 0.1 * step,
            "rewards/accuracies": 0.5 + 0.03 * step,
            "logps/chosen": -40.0,
            "logps/rejected": -40.0 - step,
        }
        Metric.objects.create(run=run, step=step, values=values)
    return loop


def test_from_new_loop_to_a_recipe_by_its_name_to_start(page_for, erin, ready):
    page = page_for(erin)
    page.goto(LOOPS)
    page.get_by_role("link", name="New loop", exact=True).click()
    page.get_by_role("link", name="iterative-dpo", exact=True).click()
    forecast = page.locator("[data-forecast]")
    assert "144" in forecast.inner_text()  # 6 prompts × 8 answers × 3 rounds
    page.get_by_label("Answers a prompt").fill("4")
    page.get_by_label("Rounds", exact=True).fill("2")
    page.wait_for_function("() => document.querySelector('[data-forecast]').innerText.includes('48')")
    page.get_by_label("Answers a prompt").fill("1")
    page.wait_for_function("() => document.querySelector('[data-forecast]').innerText.includes('“Answers a prompt”')")
    page.get_by_label("Answers a prompt").fill("4")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(f"**{LOOPS}*/")
    loop = Loop.objects.get()
    assert (loop.n_rounds, loop.chosen) == (2, {"draws.n": "4"})
    expect(page.get_by_role("heading", name="Iterative DPO")).to_be_visible()


def test_a_wrong_setting_is_said_at_its_field_without_scripts(page_for, erin, ready):
    page = page_for(erin, scripts=False)
    page.goto(f"{LOOPS}new/iterative-dpo/")
    page.get_by_label("Answers a prompt").fill("1")
    page.get_by_role("button", name="Start", exact=True).click()
    assert "“Answers a prompt” must be a whole number ≥ 2" in page.locator("[id='id_draws.n-errors']").inner_text()
    assert Loop.objects.count() == 0


def test_the_curves_and_stations_follow_the_loop_while_it_runs(page_for, bob, running):
    page = page_for(bob)
    page.goto(f"{LOOPS}{running.pk}/")
    loss = page.locator("figure.curve", has_text="Loss")
    assert loss.locator("canvas").count() == 1
    assert loss.locator(".curve-now").inner_text() == "0.5"
    assert "10 / 20" in page.locator(".stations .is-running").inner_text()
    Metric.objects.create(
        run=TrainingRun.objects.get(round__index=2), step=11, values={"loss": 0.123, "rewards/margins": 1.0}
    )
    TrainingRun.objects.update(step=11)
    page.wait_for_function("() => document.querySelector('figure.curve .curve-now').innerText === '0.123'")
    page.wait_for_function("() => document.querySelector('.stations .is-running').innerText.includes('11 / 20')")
    loss.locator("summary").click()
    rows = loss.locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() == 11
    assert rows.last.inner_text().split() == ["2", "11", "0.123"]


def test_fresh_answers_show_who_labelled_them(page_for, bob, running):
    page = page_for(bob)
    page.goto(f"{LOOPS}{running.pk}/")
    sample = page.locator(".sample")
    assert sample.locator(".is-better").inner_text().startswith("A")
    chip = sample.locator(".chip-machine.is-a")
    assert chip.inner_text() == "A is better"
    assert "83" in sample.inner_text()


def test_pausing_changing_and_branching_by_the_page(page_for, erin, running):
    page = page_for(erin)
    page.goto(f"{LOOPS}{running.pk}/")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("Paused.").wait_for()
    page.get_by_role("link", name="Change", exact=True).click()
    assert page.get_by_label("Whose score").count() == 0
    page.get_by_label("Learning rate").fill("-1")
    page.get_by_role("button", name="Change from round 3 on").click()
    page.get_by_text("“Learning rate” must be a number > 0").first.wait_for()
    page.get_by_label("Learning rate").fill("2e-4")
    page.get_by_role("button", name="Change from round 3 on").click()
    page.get_by_text("objective.lr: 0.00017 → 2e-4").wait_for()
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    page.get_by_role("link", name="Branch from round 1").click()
    page.get_by_text("A branch: it starts from letters-sft").wait_for()
    # the rate came with round 3: round 1 had the recipe's own
    assert page.get_by_label("Learning rate").input_value() == "0.00017"
    page.get_by_label("β, the pull to the reference").fill("0.9")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text(f"branched from round 1 of loop {running.pk}").wait_for()
    branch = Loop.objects.exclude(pk=running.pk).get()
    assert (branch.branched_from, branch.chosen) == (running.rounds.get(index=1), {"objective.beta": "0.9"})


def test_cancelling_and_resuming_by_the_buttons(page_for, erin, running):
    page = page_for(erin)
    page.goto(f"{LOOPS}{running.pk}/")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Resume", exact=True).wait_for()
    running.refresh_from_db()
    assert running.state == "cancelled"
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_role("button", name="Cancel", exact=True).wait_for()
    running.refresh_from_db()
    assert running.state == "running"


@pytest.fixture
def compared(running):
    """A second loop with other settings, and a second policy that answered the first one's prompt."""
    other = Loop.objects.create(
        project=running.project,
        recipe="iterative-dpo",
        config=apply_settings(get_recipe("iterative-dpo"), {"objective.beta": 0.9, "draws.n": 4}).to_json(),
        n_rounds=2,
        state="done",
        initial=running.initial,
        judge=running.judge,
    )
    for round_ in running.rounds.filter(index__lt=2):
        result = round_.result | {"gold_mean": 2.0, "gold_ci95": [1.9, 2.1]}
        Round.objects.create(loop=other, index=round_.index, stage="done", output=round_.output, result=result)
    answered = SamplingRun.objects.get()
    digest = hashlib.sha256(b"after").hexdigest()
    after = Checkpoint.objects.create(
        project=running.project, name="after", role="policy", path="after", fingerprint=digest
    )
    sampling = SamplingRun.objects.create(
        project=running.project, checkpoint=after, prompt_ids=answered.prompt_ids, n=1, purpose="evaluation"
    )
    Completion.objects.create(
        project=running.project,
        prompt=running.project.prompts.get(pk=answered.prompt_ids[0]),
        run=sampling,
        index=0,
        text="Dear Maria, thank you so much for the gift. It stands on my table. Yours, Ann",
    )
    return f"{LOOPS}compare/?loop={running.pk}&loop={other.pk}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "middle", "tablet", "phone"])
def test_everybody_can_use_it_on_every_screen(page_for, erin, running, compared, axe, fits, shoot, theme, width):
    page = page_for(erin, theme=theme, width=width)
    for name, path in (
        ("list", LOOPS),
        ("gallery", f"{LOOPS}new/"),
        ("form", f"{LOOPS}new/iterative-dpo/"),
        ("branch", f"{LOOPS}new/iterative-dpo/?branch={running.rounds.get(index=1).pk}"),
        ("change", f"{LOOPS}{running.pk}/change/"),
        ("compare", compared),
        ("sides", "/p/letters-test/policies/compare/"),
        ("loop", f"{LOOPS}{running.pk}/"),
    ):
        page.goto(path)
        if name == "loop":
            page.locator("figure.curve canvas").first.wait_for()
            clipped = page.locator(".stations").evaluate("one => getComputedStyle(one).overflowX")
            assert clipped == "clip", "the line between two rows of stations ends at the panel"
            tops = {box["y"] for box in (one.bounding_box() for one in page.locator(".station").all())}
            assert len(tops) == 1 or width == "phone", "the stations are one row where there is room"
        axe(page)
        fits(page)
        shoot(page, f"loops-{name}-{width}-{theme}")
    page.locator("#counterfactual-1").scroll_into_view_if_needed()
    page.locator("#loop-history").evaluate("element => element.scrollIntoView({block: 'end'})")
    shoot(page, f"loops-below-{width}-{theme}")
    Loop.objects.update(state="failed", failure_class="out_of_memory", error="3 GiB asked for, 2 GiB left")
    page.goto(f"{LOOPS}{running.pk}/")
    axe(page)
    fits(page)
