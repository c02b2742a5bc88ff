"""A pair that is asked by several criteria at the desk: by keyboard alone, undo, offline, on a small phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Vote
from apps.labels.selectors import preferences, standing_votes
from apps.projects.services import guideline_add
from prefloop.criteria import Criterion

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"
ASKED = (Criterion("helpful", "Which answer helps Maria more?"), Criterion("honest", "Which answer is true?"))


@pytest.fixture
def asked(transactional_db, project, make_prompt, make_comparison):
    """Six pairs, each asked by two criteria."""
    for n in range(6):
        prompt = make_prompt(project, f"Write to Maria about flower {n}.")
        texts = ("Dear Maria, thank you.", f"Hey, I got flower {n}.")
        make_comparison(project, texts, prompt=prompt)
    return guideline_add(project=project, text="Read both.", actor=None, criteria=ASKED)


def desk(page_for, ann, **how):
    page = page_for(ann, **how)
    page.goto(DESK)
    page.keyboard.press("g")
    return page


def line(page):
    return page.locator("[data-criterion-line]")


def saved(page, n: int) -> None:
    page.wait_for_function("n => document.querySelector('[data-progress]').textContent.startsWith(n)", arg=f"{n} ")
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


def said() -> list[tuple[int, str, str]]:
    """What stands: the pair, counted from 0, its criterion and the choice, in the order in which it was said."""
    pairs = sorted(set(Vote.objects.values_list("comparison_id", flat=True)))
    rows = standing_votes(None).order_by("pk").values_list("comparison_id", "criterion", "choice")
    return [(pairs.index(pair), name, choice) for pair, name, choice in rows]


def test_two_criteria_by_keyboard_and_undo_takes_back_one_of_them(page_for, ann, asked):
    page = desk(page_for, ann)
    expect(line(page)).to_be_visible()
    expect(line(page)).to_have_text("helpful Which answer helps Maria more?")
    sides = page.locator("[data-pair]:not([hidden]) .side-body").all_inner_texts()
    page.keyboard.press("1")
    expect(line(page)).to_have_text("honest Which answer is true?")
    assert page.locator("[data-pair]:not([hidden]) .side-body").all_inner_texts() == sides, "the same pair, as it was"
    page.keyboard.press("3")
    expect(line(page)).to_contain_text("helpful")
    saved(page, 2)
    assert [(pair, name) for pair, name, _ in said()] == [(0, "helpful"), (0, "honest")]
    assert said()[1][2] == "tie"
    assert preferences("honest").get().outcome == "tie"
    page.keyboard.press("u")
    expect(line(page)).to_contain_text("honest")
    saved(page, 1)
    page.keyboard.press("4")
    saved(page, 2)
    assert [name for _, name, _ in said()] == ["helpful", "honest"]
    assert preferences("honest").get().outcome == "both_bad"
    page.reload()
    expect(line(page)).to_contain_text("helpful")
    page.locator("[data-history] summary").click()
    expect(page.locator("[data-history-list] .chip:not(.chip-human)").first).to_have_text("honest")


def test_a_session_without_a_connection_keeps_each_criterion_of_each_pair(page_for, ann, asked):
    page = desk(page_for, ann)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length >= 12")
    page.context.set_offline(True)
    for n in range(11):
        expect(line(page)).to_contain_text(ASKED[n % 2].name)
        page.keyboard.press("12"[n % 2])
    expect(line(page)).to_contain_text("honest")
    page.context.set_offline(False)
    saved(page, 11)
    assert [(pair, name) for pair, name, _ in said()] == [(n // 2, ASKED[n % 2].name) for n in range(11)]


def test_it_stands_above_the_buttons_on_a_small_phone_and_fits(page_for, ann, asked, fits, axe):
    page = desk(page_for, ann, width="small")
    expect(line(page)).to_be_in_viewport()
    button = page.locator(".verdict-a")
    expect(button).to_be_in_viewport()
    assert line(page).bounding_box()["y"] + line(page).bounding_box()["height"] <= button.bounding_box()["y"]
    fits(page)
    axe(page)
    button.click()
    expect(line(page)).to_contain_text("honest")
    saved(page, 1)
