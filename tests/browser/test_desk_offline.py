"""Without a connection: twenty pairs are there, every answer is kept and stored once, and nothing is covered."""

from __future__ import annotations

import pytest

from apps.labels.models import Vote
from tests.browser.test_desk_small import covered

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(45)]


def stocked(page, n: int = 21) -> None:
    page.wait_for_function("n => document.querySelectorAll('[data-pair]').length >= n", arg=n)


def shown(page) -> str:
    return page.locator("[data-pair]:not([hidden])").get_attribute("data-assignment")


def saved(page, state: str = "saved") -> None:
    page.wait_for_function("s => document.querySelector(`[data-saved][data-state=${s}]`)?.textContent", arg=state)


def answer(page, n: int) -> list[int]:
    answered = []
    for number in range(n):
        answered.append(int(shown(page)))
        page.keyboard.press("1234c"[number % 5])
    return answered


@pytest.mark.parametrize("width", ["wide", "small"])
def test_twenty_pairs_are_answered_offline_and_each_is_stored_once(page_for, ann, comparisons, fits, shoot, width):
    page = page_for(ann, width=width)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/annotate/next/") else None)
    page.goto(DESK)
    stocked(page)
    assert len(asked) == 1, "all in one request"
    page.context.set_offline(True)
    answered = answer(page, 20)
    assert len(set(answered)) == 20
    saved(page, "offline")
    assert page.locator("[data-saved]").inner_text() == "Offline: 20 kept here"
    assert page.locator("[data-pair]:not([hidden])").count() == 1, "the one after them is there too"
    assert covered(page, ".verdict-bar button, .verdict-bar summary") == []
    fits(page)
    shoot(page, f"annotate-offline-twenty-{width}")
    assert Vote.objects.count() == 0
    page.context.set_offline(False)
    saved(page)
    assert sorted(Vote.objects.values_list("assignment_id", flat=True)) == sorted(answered)
    stocked(page, 21)
    page.keyboard.press("u")
    page.wait_for_function(
        "id => document.querySelector('[data-pair]:not([hidden])').dataset.assignment === id", arg=str(answered[-1])
    )


def test_a_reload_after_twenty_answers_shows_none_of_them_again(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    stocked(page)
    page.route("**/annotate/vote/", lambda route: route.abort())
    answered = answer(page, 20)
    saved(page, "retrying")
    page.reload()
    saved(page, "retrying")
    page.unroute("**/annotate/vote/")
    page.evaluate("() => window.dispatchEvent(new Event('online'))")
    saved(page)
    page.locator("[data-pair]:not([hidden])").wait_for()
    assert int(shown(page)) not in answered
    assert sorted(Vote.objects.values_list("assignment_id", flat=True)) == sorted(answered)
    answered += answer(page, 15)
    saved(page)
    assert len(set(answered)) == 35
    assert Vote.objects.count() == 35


def test_two_tabs_send_each_answer_once(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    stocked(page)
    other = page.context.new_page()
    other.goto(DESK)
    stocked(other)
    page.context.set_offline(True)
    answered = set(answer(page, 5)) | set(answer(other, 8))
    page.context.set_offline(False)
    saved(page)
    saved(other)
    assert set(Vote.objects.values_list("assignment_id", flat=True)) == answered
    assert Vote.objects.count() == len(answered)


def test_at_the_end_nothing_is_asked_for_after_every_answer(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    stocked(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/annotate/next/") else None)
    for _ in range(9):
        answer(page, 5)
        saved(page)
    page.get_by_text("All done", exact=True).wait_for()
    assert Vote.objects.count() == 45
    assert len(asked) <= 3
