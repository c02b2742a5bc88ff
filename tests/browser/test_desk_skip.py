"""Skipping asks why: by a digit, by a click, or not at all; the reason is stored with the skip and is exported."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Vote

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(5)]


def shown(page) -> str:
    return page.locator("[data-pair]:not([hidden])").get_attribute("data-assignment")


def settled(page) -> None:
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("small", "dark")])
def test_a_skip_asks_why_and_keeps_it(page_for, ann, comparisons, axe, fits, shoot, width, theme):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    first = shown(page)
    page.get_by_role("button", name="Skip", exact=True).click()
    expect(page.get_by_role("heading", name="Why skip this pair?")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"annotate-skip-{width}")
    page.keyboard.press("Escape")
    assert shown(page) == first, "Esc goes back to the pair"
    page.keyboard.press("s")
    page.keyboard.press("2")
    second = shown(page)
    assert second != first
    settled(page)
    assert Vote.objects.get().reason == "I don't read this language"
    page.keyboard.press("n")
    page.keyboard.type("half of it is missing")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    page.get_by_role("button", name="The prompt or an answer is broken").click()
    third = shown(page)
    settled(page)
    page.keyboard.press("s")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('[data-progress]').textContent.startsWith('3')")
    settled(page)
    votes = list(Vote.objects.order_by("id"))
    assert [vote.assignment_id for vote in votes] == [int(one) for one in (first, second, third)]
    assert {vote.choice for vote in votes} == {"skip"}
    assert votes[1].reason == "The prompt or an answer is broken — half of it is missing"
    assert votes[2].reason == ""


@pytest.mark.parametrize("width", ["wide", "small"])
def test_cant_judge_is_one_key_or_one_tap_and_is_said(page_for, ann, comparisons, axe, fits, shoot, width):
    page = page_for(ann, width=width)
    page.goto(DESK)
    fits(page)
    axe(page)
    shoot(page, f"annotate-cant-judge-{width}")
    page.keyboard.press("c")
    settled(page)
    assert page.locator("#announcer").inner_text().startswith("Can't judge.")
    button = page.get_by_role("button", name="Can't judge", exact=True)
    assert width == "wide" or button.bounding_box()["height"] >= 44
    tops = page.locator(".verdict-tools > :visible").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().y)"
    )
    assert len(set(tops)) == 1, "the tools are in one row"
    button.click()
    page.wait_for_function("() => document.querySelector('[data-progress]').textContent.startsWith('2')")
    settled(page)
    assert list(Vote.objects.values_list("choice", flat=True)) == ["cant_judge"] * 2
    page.keyboard.press("?")
    expect(page.get_by_text("Can't judge: it can't be decided which is better")).to_be_visible()


def test_a_reason_that_is_not_declared_is_not_stored(client_for, ann, project, comparisons):
    from apps.rankings.models import Assignment

    client = client_for(ann)
    client.get(DESK)
    held = Assignment.objects.filter(user=ann, state="open").first()
    client.post(f"{DESK}vote/", {"assignment": held.pk, "choice": "skip", "why": "gold", "reason": "a note"})
    assert Vote.objects.get().reason == "a note"
