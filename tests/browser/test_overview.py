"""The overview in a real browser: it fits, it can be used by everybody, and it follows what happens."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.jobs.models import Job
from apps.policies.models import Checkpoint
from apps.training.models import Loop, Round
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/p/letters-test/"


@pytest.fixture
def busy(transactional_db, project, erin, make_comparison, make_judge, make_verdict, make_vote):
    """Comparisons with votes and verdicts, a loop that was measured, one that waits for people, and a running job."""
    judge = make_judge(project, "kind-judge")
    project.label_judge = "kind-judge"
    project.save()
    ids = []
    for number in range(12):
        comparison = make_comparison(project, held_out=False)
        make_verdict(comparison, "first" if number % 3 else "second", judge=judge)
        for rater in ("x", "y"):
            make_vote(comparison, "first" if number % 2 else "second", rater=rater)
        ids.append(comparison.pk)
    start = Checkpoint.objects.create(project=project, name="start", role="policy", path="x", fingerprint="0" * 64)
    for state in ("done", "waiting"):
        loop = Loop.objects.create(
            project=project,
            recipe="iterative-dpo",
            config=apply_settings(get_recipe("iterative-dpo"), {"review.mode": "all"}).to_json(),
            n_rounds=2,
            state=state,
            initial=start,
            judge=judge,
            started_by=erin,
        )
        for index in (0, 1):
            win = 0.5 + 0.2 * index
            result = {"win_rate_vs_initial": win, "win_rate_ci95": [win - 0.04, win + 0.04], "kl": 0.3 * index}
            Round.objects.create(loop=loop, index=index, stage="done", output=start, result=result)
        if state == "waiting":
            Round.objects.create(loop=loop, index=2, stage="review", review_comparison_ids=ids[:5])
    Job.objects.create(
        project=project,
        kind="sampling.chunk",
        queue="gpu",
        title="Sample 8 answers of start",
        state="running",
        step=40,
        n_steps=128,
        started_at=timezone.now(),
        message="320 answers",
    )
    return project


def test_the_three_answers_and_the_loop_are_there(page_for, bob, busy):
    page = page_for(bob)
    page.goto(PAGE)
    assert page.locator(".ring-station").count() == 6
    assert "waits for people" in page.locator(".ring-station.is-lit").inner_text()
    needs = page.locator(".answer").nth(0).inner_text()
    assert "5" in needs
    assert "waits for these labels" in needs
    assert "Yes" in page.locator(".answer").nth(1).inner_text()
    page.get_by_role("link", name="waits for these labels").click()
    page.wait_for_url("**/review/?round=*")
    assert "5 comparisons" in page.content()


def test_it_follows_a_running_job_without_a_reload(page_for, bob, busy):
    page = page_for(bob)
    page.goto(PAGE)
    page.evaluate("() => { window.here = true; }")
    assert "40 / 128" in page.locator(".under-way").inner_text()
    Job.objects.update(step=99)
    page.wait_for_function("() => document.querySelector('.under-way').innerText.includes('99 / 128')")
    assert page.evaluate("() => window.here") is True


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "middle", "phone"])
def test_everybody_can_use_it_on_every_screen(page_for, bob, ann, busy, axe, fits, shoot, theme, width):
    for name, person in (("lead", bob), ("annotator", ann)):
        page = page_for(person, theme=theme, width=width)
        page.goto(PAGE)
        axe(page)
        fits(page)
        shoot(page, f"overview-{name}-{width}-{theme}")
    Job.objects.create(project=busy, kind="demo.seed", queue="gpu", state="running", title="Demo", n_steps=9)
    page = page_for(bob, theme=theme, width=width)
    page.goto(PAGE)
    axe(page)
    fits(page)
    shoot(page, f"overview-seeding-{width}-{theme}")
