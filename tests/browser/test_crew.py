"""What a lead of a team has: gold, pause and budget; and what people at the desk notice of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import PairFlag, Vote
from apps.projects.models import Project
from apps.rankings import services

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(6)]


def settled(page) -> None:
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "light")])
def test_a_lead_marks_gold_pauses_and_sets_a_budget(
    page_for, bob, ann, project, comparisons, make_vote, axe, fits, shoot, width, theme
):
    page = page_for(bob, width=width, theme=theme)
    page.goto(f"/p/letters-test/comparisons/{comparisons[0].pk}/")
    page.get_by_label("Right answer", exact=True).select_option("first")
    page.get_by_label("Why?").fill("The first one names the flowers. " * 5)
    axe(page)
    fits(page)
    page.locator("section", has_text="Known answer").get_by_role("button", name="Save").click()
    page.get_by_text("Saved as gold").wait_for()
    make_vote(comparisons[0], "first", user=ann)
    page.goto("/p/letters-test/review/gold/")
    page.get_by_label("Gold among what people").fill("10")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    expect(page.get_by_role("cell", name="1 / 1")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"gold-{width}")
    page.get_by_role("link", name="Pause and budget").click()
    page.get_by_label("Budget in labels").fill("1000")
    page.get_by_label("Price of a label").fill("0.08")
    page.locator("form", has_text="Budget in labels").get_by_role("button", name="Save").click()
    page.get_by_text("Cost so far").wait_for()
    page.get_by_role("button", name="Pause ann").click()
    page.get_by_role("button", name="Go on: give ann pairs again").wait_for()
    axe(page)
    fits(page)
    shoot(page, f"budget-{width}")
    project.refresh_from_db()
    assert (project.gold_share, project.label_budget) == (10, 1000)


@pytest.mark.parametrize(("width", "theme"), [("wide", "dark"), ("small", "light")])
def test_a_flag_is_taken_back_by_keyboard_also_after_a_reload(
    page_for, ann, comparisons, axe, fits, shoot, width, theme
):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    page.locator("annotate-pair.is-scripted").wait_for()
    page.keyboard.press("f")
    page.keyboard.press("1")
    settled(page)
    page.reload()
    flag = page.locator("[data-pair]:not([hidden]) [data-act=flag]")
    assert flag.get_attribute("aria-pressed") == "true"
    page.keyboard.press("f")
    axe(page)
    fits(page)
    shoot(page, f"unflag-{width}")
    page.keyboard.press("0")
    page.wait_for_function("() => document.querySelector('#announcer').textContent.includes('taken back')")
    settled(page)
    assert (flag.get_attribute("aria-pressed"), PairFlag.objects.get().resolved_by) == ("false", "ann")
    page.keyboard.press("f")
    page.keyboard.press("0")  # there is none any more, and nothing happens
    assert page.get_by_role("button", name="Take my flag back").count() == 0


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("small", "dark")])
def test_a_pause_is_told_on_the_open_desk_and_nothing_is_lost(
    page_for, ann, bob, comparisons, axe, fits, shoot, width, theme
):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    page.keyboard.press("1")
    settled(page)
    services.project_pause(project=Project.objects.get(), why="The guideline changes at two o'clock.", by=bob)
    page.keyboard.press("2")
    page.locator("[data-stopped]", has_text="The guideline changes at two o'clock.").wait_for()
    settled(page)
    assert Vote.objects.count() == 2
    assert not page.get_by_text("All done").is_visible()
    axe(page)
    fits(page)
    shoot(page, f"paused-{width}")
    services.project_pause(project=Project.objects.get(), why="", by=bob)
    page.reload()
    page.locator("[data-pair]:not([hidden])").wait_for()


def test_a_pause_stays_told_when_a_reply_from_before_it_comes_late(page_for, ann, bob, comparisons):
    page, held = page_for(ann), []
    page.route("**/annotate/next/", lambda route: route.continue_() if held else held.append(route))
    page.goto(DESK)
    page.locator("annotate-pair.is-scripted").wait_for()
    page.keyboard.press("1")
    settled(page)
    late = held[0].fetch()
    services.project_pause(project=Project.objects.get(), why="The guideline changes at two o'clock.", by=bob)
    page.keyboard.press("2")
    told = page.locator("[data-stopped]", has_text="The guideline changes at two o'clock.")
    told.wait_for()
    held[0].fulfill(response=late)
    settled(page)
    page.wait_for_load_state("networkidle")
    assert (told.is_visible(), page.locator("[data-pair]:not([hidden])").count()) == (True, 0)


@pytest.mark.parametrize(("width", "theme"), [("wide", "dark"), ("tablet", "light"), ("small", "light")])
def test_somebody_practises_by_keyboard_and_passes(
    page_for, ann, bob, project, comparisons, axe, fits, shoot, width, theme
):
    for pair, outcome in zip(comparisons[:2], ("tie", "both_bad"), strict=True):
        services.gold_mark(
            comparison=pair, outcome=outcome, by=bob, note="Neither names the flowers.", for_practice=True
        )
    services.practice_bound_set(project=project, bound=50, by=bob)
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    page.get_by_text("0 of 2").wait_for()
    axe(page)
    fits(page)
    shoot(page, f"practice-{width}")
    page.keyboard.press("3")
    page.get_by_text("Right.").wait_for()
    axe(page)
    fits(page)
    shoot(page, f"practised-{width}")
    page.keyboard.press("Enter")
    page.get_by_text("1 of 2").wait_for()
    page.keyboard.press("2")
    page.get_by_text("Not right.").wait_for()
    page.keyboard.press("n")
    page.get_by_role("heading", name="You passed").wait_for()
    axe(page)
    page.keyboard.press("Enter")
    page.locator("[data-pair]:not([hidden])").wait_for()
    lead = page_for(bob, width=width, theme=theme)
    lead.goto("/p/letters-test/review/practice/")
    expect(lead.get_by_text("passed")).to_be_visible()
    axe(lead)
    fits(lead)
    inside = lead.locator(".panel-flush").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert inside, "the table needs no scrolling"
    shoot(lead, f"practices-{width}")


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "dark")])
def test_a_lead_makes_a_batch(page_for, bob, ann, comparisons, axe, fits, shoot, width, theme):
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/review/batches/")
    axe(page)
    page.locator("#id_name").fill("The first four")
    page.get_by_label("Number of pairs, at most").fill("4")
    page.get_by_label("ann").check()
    page.get_by_label("Deadline").fill("2026-01-31")
    page.get_by_role("button", name="Make the batch").click()
    page.get_by_text("The batch has 4 pairs.").wait_for()
    expect(page.get_by_role("cell", name="0 / 4")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"batches-{width}")
    page.get_by_role("button", name="Close: The first four").click()
    page.get_by_text("The batch is closed.").wait_for()
