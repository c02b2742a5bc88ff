"""Short reasons: by keyboard and by click in the note's sheet, kept over a reload, brought by another guideline."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Ranking, Vote
from apps.projects.services import guideline_add
from prefloop.reasons import PRESETS

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"
USUAL = PRESETS["usual reasons"]


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None, reasons=USUAL)
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(9)]


def saved(page, n: int) -> None:
    page.wait_for_function("n => document.querySelector('[data-progress]').textContent.startsWith(n)", arg=f"{n} ")
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


def test_by_keyboard_alone(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("g")
    sheet, dot = page.locator(".note-sheet"), page.locator("[data-note-dot]")
    for key in ("w", "1", "5", "3", "3"):  # the third is chosen and left again
        page.keyboard.press(key)
    expect(sheet.get_by_label("safer")).to_be_checked()
    expect(sheet.get_by_label("more complete")).not_to_be_checked()
    page.keyboard.press("Enter")
    expect(sheet).to_be_hidden()
    expect(dot).to_be_visible()
    assert not Vote.objects.exists(), "Enter at the reasons answers nothing"
    page.reload()
    expect(dot).to_be_visible()
    page.keyboard.press("2")
    saved(page, 1)
    expect(dot).to_be_hidden()
    page.keyboard.press("w")
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    saved(page, 2)
    assert [vote.reasons for vote in Vote.objects.order_by("id")] == [["more accurate", "safer"], []]
    page.locator("[data-history] summary").click()
    page.locator("[data-history-list] .chip-reason", has_text="more accurate").wait_for()


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "light")])
def test_by_touch_on_every_screen(page_for, ann, project, comparisons, axe, fits, shoot, width, theme):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    page.keyboard.press("g")
    page.locator("[data-note] > summary").click()
    for reason in ("too long", "better style"):
        chip = page.locator(".note-sheet .chip-pick", has_text=reason)
        assert chip.bounding_box()["height"] >= (36 if width == "small" else 28)
        chip.click()
    fits(page)
    axe(page)
    shoot(page, f"annotate-reasons-{width}")
    a, sheet = page.get_by_role("button", name="A is better", exact=True), page.locator(".note-sheet")
    assert sheet.bounding_box()["y"] >= 0
    a.click()
    saved(page, 1)
    assert Vote.objects.get().reasons == ["better style", "too long"]


def test_a_new_guideline_brings_its_own(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("g")
    guideline_add(project=project, text="Prefer the kinder letter.", actor=None, reasons=["kinder"])
    n = 0
    while page.locator("[data-guide-place]").get_attribute("data-guideline") == "v1":
        for key in ("w", "1", "Escape", "1"):
            page.keyboard.press(key)
        n += 1
        saved(page, n)
    for key in ("w", "1", "2", "Escape", "1"):  # there is no second one
        page.keyboard.press(key)
    saved(page, n + 1)
    said = list(Vote.objects.order_by("id").values_list("guideline", "reasons"))
    assert said == [("v1", ["more accurate"])] * n + [("v2", ["kinder"])]


def test_a_guideline_without_reasons_has_no_field_for_them(page_for, ann, project, make_comparison):
    make_comparison(project)
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("w")
    expect(page.locator(".note-sheet")).to_be_hidden()
    page.keyboard.press("n")
    expect(page.locator(".note-sheet")).to_be_visible()
    expect(page.locator("[data-reasons]")).to_be_hidden()


def test_with_a_ranking_by_the_same_keys(page_for, ann, project, make_prompt, make_completion, axe, fits):
    for _ in range(2):
        prompt = make_prompt(project)
        for n in range(3):
            make_completion(prompt, f"Dear Maria, {n}.")
    guideline_add(project=project, text="Rank.", actor=None, task="ranking", set_size=3, reasons=USUAL)
    page = page_for(ann, width="small")
    page.goto(DESK)
    page.keyboard.press("g")
    sheet, bar = page.locator(".note-sheet"), page.locator("[data-rank-list]")
    page.keyboard.press("w")
    page.keyboard.press("5")
    expect(sheet.get_by_label("safer")).to_be_checked()
    expect(bar.locator("[data-chip]")).to_have_count(0)
    fits(page)
    axe(page)
    page.keyboard.press("Enter")
    expect(sheet).to_be_hidden()
    for key in ("2", "1", "3", "Enter"):
        page.keyboard.press(key)
    saved(page, 1)
    expect(sheet.get_by_label("safer")).not_to_be_checked()
    assert Ranking.objects.get().reasons == ["safer"]
