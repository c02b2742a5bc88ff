"""Flagging a pair at the desk, by key and by touch, on line and off; and the leads' list of flags."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import PairFlag, Vote

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(5)]


def shown(page) -> str:
    return page.locator("[data-pair]:not([hidden])").get_attribute("data-assignment")


def settled(page) -> None:
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "dark")])
def test_a_pair_is_flagged_and_can_still_be_answered(page_for, ann, comparisons, axe, fits, shoot, width, theme):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    first = shown(page)
    page.locator("[data-pair]:not([hidden]) [data-act=flag]").click()
    expect(page.get_by_role("heading", name="Flag this pair for a lead")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"annotate-flag-{width}")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.locator("#flag-note").fill("2 lines are missing")
    page.get_by_role("button", name="The prompt or an answer is broken or cut off").click()
    settled(page)
    assert shown(page) == first
    assert page.locator("[data-pair]:not([hidden]) [data-act=flag]").get_attribute("aria-pressed") == "true"
    assert "You can still answer this pair" in page.locator("#announcer").inner_text()
    axe(page)
    page.keyboard.press("f")
    page.keyboard.press("3")  # picks a reason, and answers nothing
    settled(page)
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelector('[data-progress]').textContent.startsWith('1 ')")
    settled(page)
    flags = list(PairFlag.objects.order_by("id").values_list("reason", "note"))
    assert flags == [("broken", "2 lines are missing"), ("private", "")]
    assert Vote.objects.get().assignment_id == int(first)
    assert page.locator("[data-pair]:not([hidden]) [data-act=flag]").get_attribute("aria-pressed") == "false"


def test_a_flag_raised_offline_arrives_once_with_the_answer(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.context.set_offline(True)
    page.keyboard.press("f")
    page.keyboard.press("6")
    page.keyboard.press("2")
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'offline'")
    page.context.set_offline(False)
    settled(page)
    assert PairFlag.objects.get().reason == "other"
    assert Vote.objects.get().comparison_id == PairFlag.objects.get().comparison_id


@pytest.mark.parametrize(("width", "theme"), [("wide", "dark"), ("tablet", "light"), ("small", "light")])
def test_a_lead_resolves_flags(page_for, ann, bob, project, comparisons, axe, fits, shoot, width, theme):
    for n, pair in enumerate(comparisons[:3]):
        PairFlag.objects.create(
            comparison=pair, user=ann, rater="ann", reason="broken", note=f"note {n} " * (1 + 20 * n)
        )
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/review/")
    page.get_by_role("link", name="Flagged (3)").click()
    fits(page)
    axe(page)
    shoot(page, f"flags-{width}")
    page.get_by_role("button", name=f"Resolve the flag on pair {comparisons[0].pk}").click()
    expect(page.get_by_text("The flag is resolved.")).to_be_visible()
    page.get_by_role("link", name="Resolved").click()
    expect(page.get_by_text("resolved by bob")).to_be_visible()
    axe(page)
    page.get_by_role("button", name="Open again").click()
    assert PairFlag.objects.filter(resolved_at=None).count() == 3
