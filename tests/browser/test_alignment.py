"""Aligning a judge in a real browser: choose corrections, watch the trial, use the new version."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.jobs.drain import drain
from apps.labels.models import Judge, Override, Vote
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from prefloop.judging.examples import may_align

pytestmark = pytest.mark.django_db(transaction=True)
KIND = "Dear Maria,\nThank you so much for the wonderful flowers.\nWith love,\nTom"


@pytest.fixture
def judge(transactional_db, project, make_comparison, make_prompt):
    """A judge with the wrong criterion, which people corrected; and pairs that they voted on blind."""
    there = endpoint_create(
        project=project, name="s", base_url=f"{SIMULATED_SCHEME}letters", model="m", is_simulated=True
    )
    made = Judge.objects.create(project=project, name="judge", kind="llm", endpoint=there, criterion="very short")
    for n in range(24):
        prompt = make_prompt(project, f"Write a thank-you note to Maria about the flowers, {n}.")
        pair = make_comparison(project, (f"{KIND} {n}", f"Flowers, ok {n}."), prompt=prompt)
        if may_align("judge", prompt.text):
            Override.objects.create(
                comparison=pair, judge=made, rater="bob", kind="override", choice="first", judge_outcome="second",
                reason="kind and correct",
            )  # fmt: skip
        else:
            Vote.objects.create(comparison=pair, rater="ann", choice="first", order="01", at=timezone.now())
    return made


def test_corrections_become_a_version_that_is_tried_and_then_used(page_for, erin, judge, axe):
    page = page_for(erin)
    page.goto(f"/p/letters-test/judges/{judge.pk}/")
    page.get_by_role("link", name="Align from corrections").click()
    axe(page)
    page.get_by_label("kind and correct").check()
    page.get_by_role("button", name="Try the new version").click()
    page.get_by_text("Both versions are being asked").wait_for()
    drain(["cpu"], worker_name="w")
    page.get_by_text("The new version agrees more often.").wait_for()
    assert "n = 11" in page.locator(".dials").inner_text()
    axe(page)
    page.get_by_role("button", name="Use as the next version").click()
    page.get_by_text("judge, version 2, has been created.").wait_for()
    assert "Aligned: its agreement is measured only on prompts that it was not shown." in page.inner_text("main")
    made = Judge.objects.get(version=2)
    assert made.criterion == "very short\n- kind and correct"
    assert len(made.options["examples"]) > 3


@pytest.mark.parametrize("width", ["wide", "tablet", "small"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_fit(page_for, erin, judge, width, theme, axe, fits, shoot):
    from apps.judging.alignment import alignment_start, corrections

    made = alignment_start(
        judge=judge,
        comparison_ids=[one.comparison.pk for one in corrections(judge)[:3]],
        criterion="very short, kind and correct",
    )
    drain(["cpu"], worker_name="w")
    page = page_for(erin, width=width, theme=theme)
    for path in (f"{judge.pk}/align/", f"alignments/{made.pk}/", f"{judge.pk}/"):
        page.goto(f"/p/letters-test/judges/{path}")
        fits(page)
        shoot(page, "align-" + path.replace("/", "-") + f"{width}-{theme}")
        axe(page)
