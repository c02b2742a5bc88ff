"""Editing the better answer: from the desk by a key, from the last ten, and from Review."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Preference
from apps.samples.models import Completion

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def pairs(transactional_db, project, make_comparison):
    project.annotators_may_edit = True
    project.save()
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(3)]


def test_by_keyboard_from_the_desk(page_for, ann, project, pairs):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("x")
    assert page.url.endswith(DESK), "nothing is chosen yet"
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("x")
    page.wait_for_url("**/edit/left/")
    field = page.get_by_label("The edited answer", exact=True)
    before = field.input_value()
    field.fill(f"{before} Thank you!")
    page.get_by_role("button", name="Save as a new answer").click()
    page.get_by_text("Saved as a new answer.").wait_for()
    made = Completion.objects.get(parent__isnull=False)
    assert (made.parent.text, made.text, made.editor) == (before, f"{before} Thank you!", "ann")
    assert Preference.objects.get(comparison__origin="edit").source == "edit"
    page.goto(DESK)
    page.locator("[data-history] summary").click()
    expect(page.locator("[data-history-list] a", has_text="Edit")).to_have_count(1)  # a tie has no better answer


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("small", "dark")])
def test_from_review_on_every_screen(page_for, bob, project, pairs, make_verdict, axe, fits, shoot, width, theme):
    make_verdict(pairs[0], "first")
    page = page_for(bob, width=width, theme=theme)
    page.goto(f"/p/{project.slug}/review/{pairs[0].pk}/")
    axe(page)
    fits(page)
    shoot(page, f"review-edit-{width}")
    page.get_by_role("link", name="Edit answer B").click()
    axe(page)
    fits(page)
    shoot(page, f"edit-{width}")
    page.get_by_label("The edited answer", exact=True).fill("Hey, you.")
    page.get_by_role("button", name="Save as a new answer").click()
    page.get_by_text("Saved as a new answer.").wait_for()
    page.goto(f"/p/{project.slug}/prompts/{pairs[0].prompt_id}/")
    axe(page)
    fits(page)
    shoot(page, f"prompt-edited-{width}")
    page.get_by_role("link", name="its original").click()
