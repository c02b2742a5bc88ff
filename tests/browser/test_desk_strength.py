"""How much better: by Shift and the answer's key, or by a button, where the guideline asks; nowhere else."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Vote
from apps.projects.services import guideline_add

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None, asks_strength=True)
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(9)]


def saved(page, n: int) -> None:
    page.wait_for_function("n => document.querySelector('[data-progress]').textContent.startsWith(n)", arg=f"{n} ")
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


def test_shift_with_the_answers_key_says_much_better(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("g")
    for n, key in enumerate(("1", "Shift+Digit1", "Shift+ArrowRight", "ArrowRight", "3"), 1):
        page.keyboard.press(key)
        saved(page, n)
        if key == "Shift+ArrowRight":
            assert "B is much better" in page.locator("#announcer").inner_text()
    votes = list(Vote.objects.order_by("id"))
    assert [vote.strength for vote in votes] == ["better", "much_better", "much_better", "better", ""]
    sides = ["left" if (vote.choice == "first") == (vote.order == "01") else "right" for vote in votes[:4]]
    assert sides == ["left", "left", "right", "right"]
    page.keyboard.press("u")
    page.keyboard.press("Shift+Digit2")
    saved(page, 5)
    last = Vote.objects.order_by("id").last()
    assert last is not None
    assert (last.strength, last.assignment_id) == ("much_better", votes[4].assignment_id)
    page.locator("[data-history] summary").click()
    page.locator("[data-history-list] .chip", has_text="much better").first.wait_for()


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "light")])
def test_a_button_says_it_too_on_every_screen(page_for, ann, project, comparisons, axe, fits, shoot, width, theme):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    page.keyboard.press("g")
    fits(page)
    axe(page)
    shoot(page, f"annotate-strength-{width}")
    for n, name in enumerate(("A is much better", "B is much better", "A is better", "B is better"), 1):
        button = page.get_by_role("button", name=name, exact=True)
        box = button.bounding_box()
        assert box["height"] >= (44 if width == "small" else 30)
        button.click()
        saved(page, n)
    strengths = [vote.strength for vote in Vote.objects.order_by("id")]
    assert strengths == ["much_better", "much_better", "better", "better"]
    fits(page)


def test_a_new_guideline_brings_and_takes_the_question(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("g")
    guideline_add(project=project, text="Prefer the shorter letter.", actor=None)
    much = page.get_by_role("button", name="A is much better", exact=True)
    expect(much).to_be_visible()
    n = 0
    while page.locator("[data-guide-place]").get_attribute("data-guideline") == "v1":
        page.keyboard.press("Shift+Digit1")
        n += 1
        saved(page, n)
    assert not much.is_visible()
    page.keyboard.press("Shift+Digit1")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("1")
    saved(page, n + 1)
    said = list(Vote.objects.order_by("id").values_list("guideline", "strength"))
    assert said == [("v1", "much_better")] * n + [("v2", "")]
