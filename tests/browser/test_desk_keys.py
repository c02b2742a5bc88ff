"""A person's own keys on the desk: chosen in the list of keys, kept in the browser, and before the standard ones."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Vote

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    return [make_comparison(project, (f"Dear Maria, {n}.", f"Hey, {n}.")) for n in range(9)]


def choose(page, name: str, key: str) -> None:
    row = page.locator(f"[data-key-of={name}]")
    row.locator("[data-choose-key]").click()
    expect(row.locator("[data-choose-key]")).to_have_text("Press a key (Esc: none)")
    page.keyboard.press(key)


def saved(page, n: int) -> None:
    page.wait_for_function("n => document.querySelector(`[data-progress]`).textContent.startsWith(n)", arg=f"{n} ")
    expect(page.locator("[data-saved]")).to_have_attribute("data-state", "saved")


def test_a_key_of_ones_own_answers_and_is_there_after_a_reload(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("?")
    choose(page, "left", "j")
    choose(page, "right", "u")  # undo's own: it keeps the other one
    choose(page, "undo", "z")
    choose(page, "diff", "Escape")
    expect(page.locator("[data-key-of=diff] [data-choose-key]")).to_have_text("Own key")
    page.keyboard.press("Escape")
    expect(page.locator("[data-keys]")).to_be_hidden()
    expect(page.locator("button[name=choice][value=left] kbd").first).to_have_text("j")
    page.keyboard.press("j")
    saved(page, 1)
    page.reload()
    page.keyboard.press("u")
    saved(page, 2)
    page.keyboard.press("1")
    saved(page, 3)
    sides = [
        "left" if (vote.choice == "first") == (vote.order == "01") else "right" for vote in Vote.objects.order_by("id")
    ]
    assert sides == ["left", "right", "left"]
    page.keyboard.press("z")
    saved(page, 2)
    page.keyboard.press("?")
    page.locator("[data-key-of=right] [data-remove-key]").click()
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    saved(page, 1)


def test_one_key_says_one_thing(page_for, ann, project, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("?")
    choose(page, "tie", "x")
    choose(page, "both_bad", "x")
    expect(page.locator("[data-key-of=tie] [data-choose-key]")).to_have_text("Own key")
    expect(page.locator("[data-key-of=both_bad] [data-choose-key]")).to_have_text("x")
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    saved(page, 1)
    assert Vote.objects.get().choice == "both_bad"


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "light")])
def test_the_list_of_keys_fits_every_screen(page_for, ann, project, comparisons, axe, fits, shoot, width, theme):
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    page.evaluate("() => document.querySelector('[data-keys]').showModal()")
    choose(page, "left", "j")
    fits(page)
    axe(page)
    shoot(page, f"annotate-keys-{width}")
