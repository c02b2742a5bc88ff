"""The guideline at the desk: a vote holds the version that was read, and a new one is shown before it counts."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Vote
from apps.projects.services import guideline_add

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    return [make_comparison(project, (f"Dear Maria, number {n}.", f"Hey, number {n}.")) for n in range(8)]


def settled(page) -> None:
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'saved'")
    page.wait_for_function("() => document.querySelector('[data-saved]').textContent !== ''")


def test_a_new_guideline_comes_with_the_next_pair_and_every_vote_has_the_one_on_the_screen(
    page_for, ann, project, comparisons, axe, fits, shoot
):
    def guide() -> str:
        return page.locator("[data-guide-place]").get_attribute("data-guideline")

    guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    page = page_for(ann)
    page.goto(DESK)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length >= 3")
    page.keyboard.press("1")
    settled(page)
    guideline_add(project=project, text="Prefer the shorter letter.", actor=None)
    read = ["v1"]
    for _ in range(5):
        page.locator("[data-pair]:not([hidden])").wait_for()
        read.append(guide())
        page.keyboard.press("1")
        settled(page)
    assert list(Vote.objects.order_by("id").values_list("guideline", flat=True)) == read
    assert read == sorted(read)
    assert read[-1] == "v2"
    assert page.get_by_text("Prefer the shorter letter.").is_visible(), "opened by itself"
    assert "changed" in page.locator("[data-guide] summary").inner_text()
    fits(page)
    axe(page)
    shoot(page, "annotate-new-guideline")
    page.reload()
    assert page.get_by_text("Prefer the shorter letter.").is_visible(), "not read yet"
    page.keyboard.press("g")
    assert "changed" not in page.locator("[data-guide] summary").inner_text()
    page.reload()
    assert "changed" not in page.locator("[data-guide] summary").inner_text()
    assert not page.get_by_text("Prefer the shorter letter.").is_visible()


def test_a_vote_given_offline_keeps_the_guideline_it_was_given_under(page_for, ann, project, comparisons):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    page = page_for(ann)
    page.goto(DESK)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length >= 3")
    page.route("**/annotate/**", lambda route: route.abort())
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'retrying'")
    guideline_add(project=project, text="Prefer the shorter letter.", actor=None)
    page.unroute("**/annotate/**")
    page.reload()
    page.locator("[data-guide-place][data-guideline=v2]").wait_for()
    settled(page)
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelector('[data-progress]').textContent.startsWith('3')")
    settled(page)
    assert list(Vote.objects.order_by("id").values_list("guideline", flat=True)) == ["v1", "v1", "v2"]


def test_without_scripts_a_vote_has_the_guideline_of_its_page(page_for, ann, project, comparisons):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    page = page_for(ann, scripts=False)
    page.goto(DESK)
    guideline_add(project=project, text="Prefer the shorter letter.", actor=None)
    page.get_by_role("button", name="A is better", exact=True).click()
    assert "changed" in page.locator("[data-guide] summary").inner_text()
    page.get_by_role("button", name="A is better", exact=True).click()
    assert "changed" not in page.locator("[data-guide] summary").inner_text()
    assert list(Vote.objects.order_by("id").values_list("guideline", flat=True)) == ["v1", "v2"]


def test_the_guideline_is_open_at_the_first_session_and_not_again(page_for, ann, project, comparisons, axe, shoot):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    page = page_for(ann)
    page.goto(DESK)
    expect(page.get_by_text("Prefer the warmer letter.")).to_be_visible()
    assert "changed" not in page.locator("[data-guide] summary").inner_text()
    axe(page)
    shoot(page, "annotate-first-session")
    page.reload()
    assert page.get_by_text("Prefer the warmer letter.").is_visible(), "not read yet"
    page.keyboard.press("g")
    page.reload()
    page.locator("[data-pair]:not([hidden])").wait_for()
    assert not page.get_by_text("Prefer the warmer letter.").is_visible()
