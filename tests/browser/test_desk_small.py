"""The desk on small screens, at high zoom and offline: nothing is covered, cut or wider than the window."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Vote
from apps.projects.services import guideline_add

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"
CONVERSATION = [
    {"role": "user", "content": "The first question. " * 60},
    {"role": "assistant", "content": "A long answer. " * 150},
    {"role": "user", "content": "And the last question: in one line?"},
]


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    texts = [(f"Dear Maria,\nthank you, {n}.", f"Hey. Got it, {n}.") for n in range(5)]
    return [make_comparison(project, pair) for pair in texts]


@pytest.fixture
def conversation(transactional_db, project, make_prompt, make_comparison):
    prompt = make_prompt(project, CONVERSATION[-1]["content"], messages=CONVERSATION)
    return make_comparison(project, ("In one line: kind.", "No."), prompt=prompt)


def shown(page, selector: str = ""):
    return page.locator(f"[data-pair]:not([hidden]) {selector}")


def saved(page, state: str = "saved") -> None:
    page.wait_for_function(
        "state => document.querySelector(`[data-saved][data-state=${state}]`)?.textContent",
        arg=state,
    )


def covered(page, selector: str) -> list[str]:
    """Name the controls whose middle something else lies on."""
    return page.locator(selector).evaluate_all(
        """controls => controls.filter(control => {
          const box = control.getBoundingClientRect();
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          return box.width && top !== control && !control.contains(top);
        }).map(control => control.textContent)"""
    )


@pytest.mark.parametrize("width", ["small", "phone", "tablet", "wide"])
def test_a_vote_widens_nothing_and_a_note_leaves_the_answers_free(
    page_for, ann, project, comparisons, axe, fits, shoot, width
):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    page = page_for(ann, width=width)
    page.goto(DESK)
    fits(page)
    page.keyboard.press("g")
    page.get_by_role("button", name="A is better", exact=True).click()
    saved(page)
    fits(page)
    before = page.locator(".verdict-choices button").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width)"
    )
    page.keyboard.press("n")
    page.keyboard.type("because it is kind")
    assert covered(page, ".verdict-choices button") == []
    shoot(page, f"annotate-note-{width}")
    axe(page)
    page.keyboard.press("Escape")
    expect(page.locator("[data-note-dot]")).to_be_visible()
    after = page.locator(".verdict-choices button").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width)"
    )
    assert after == before, "the note's dot takes no room"
    fits(page)
    expect(page.locator("[data-history] summary")).to_be_visible()


@pytest.mark.parametrize("width", ["small", "wide"])
def test_offline_one_thing_is_said_and_no_button_is_covered(page_for, ann, project, comparisons, fits, shoot, width):
    page = page_for(ann, width=width)
    page.goto(DESK)
    page.context.set_offline(True)
    page.get_by_role("button", name="A is better", exact=True).click()
    saved(page, "offline")
    assert page.locator("[data-saved]").inner_text() == "Offline: 1 kept here"
    assert not page.get_by_text("not saved yet").is_visible(), "it is kept: nothing else is said"
    assert covered(page, ".verdict-bar button, .verdict-bar summary") == []
    fits(page)
    shoot(page, f"annotate-offline-{width}")
    page.context.set_offline(False)
    saved(page)
    assert Vote.objects.count() == 1


def test_offline_elsewhere_the_notice_covers_nothing(page_for, bob, project, comparisons, fits):
    page = page_for(bob, width="small")
    page.goto("/p/letters-test/prompts/")
    before = page.locator("main").bounding_box()
    page.context.set_offline(True)
    note = page.get_by_text("You are offline.").bounding_box()
    main = page.locator("main").bounding_box()
    assert main["y"] >= note["y"] + note["height"]
    assert main["y"] - before["y"] == note["height"]
    fits(page)


@pytest.mark.parametrize("width", ["doubled", "fourfold"])
def test_at_high_zoom_everything_can_be_reached_by_scrolling(
    page_for, ann, project, comparisons, conversation, axe, fits, shoot, width
):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    page = page_for(ann, width=width)
    page.goto(f"{DESK}{conversation.pk}/")
    page.keyboard.press("g")
    shoot(page, f"annotate-{width}")
    fits(page)
    axe(page)
    for selector in (".side-a .model-text:not([hidden])", ".side-b .model-text:not([hidden])"):
        box = shown(page, selector).bounding_box()
        assert box["height"] > 0
        shown(page, selector).scroll_into_view_if_needed()
    for name in ("A is better", "B is better", "Tie", "Both bad", "Skip", "Undo"):
        page.get_by_role("button", name=name, exact=True).scroll_into_view_if_needed()
        assert covered(page, f"button:has-text('{name}'):visible") == []
    page.get_by_role("button", name="Tie", exact=True).click()
    saved(page)
    assert Vote.objects.get().choice == "tie"


@pytest.mark.parametrize("width", ["wide", "tablet", "small"])
def test_the_last_turn_of_a_conversation_is_in_sight(page_for, ann, conversation, shoot, width):
    page = page_for(ann, width=width)
    page.goto(DESK)
    last = shown(page, ".turn:last-child .model-text").bounding_box()
    box = shown(page, ".pair-prompt-text").bounding_box()
    assert box["y"] <= last["y"]
    assert last["y"] + last["height"] <= box["y"] + box["height"] + 1
    shoot(page, f"annotate-turns-{width}")
    if width == "wide":
        assert box["height"] > 0.4 * page.viewport_size["height"], "short answers leave their room to the prompt"


@pytest.mark.parametrize("width", ["tablet", "small"])
def test_below_900_pixels_the_prompt_stays_while_the_answers_scroll(page_for, ann, project, make_comparison, width):
    make_comparison(project, ("Dear Maria. " * 400, "Hey. " * 400))
    page = page_for(ann, width=width)
    page.goto(DESK)
    before = shown(page, ".pair-prompt").bounding_box()
    page.wait_for_function(  # the desk goes to the top of a pair when it is shown, which may still be to come
        """top => {
          document.querySelector("[data-stage]").scrollTop = 600;
          return document.querySelector("[data-pair]:not([hidden]) .side-a").getBoundingClientRect().y < top;
        }""",
        arg=before["y"],
    )
    assert shown(page, ".pair-prompt").bounding_box() == before


def test_an_arrow_with_shift_casts_nothing(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    first = shown(page).get_attribute("data-assignment")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    assert shown(page).get_attribute("data-assignment") == first
    assert page.locator("[data-progress]").inner_text().startswith("0 of")


@pytest.mark.parametrize(("width", "theme"), [("small", "light"), ("tablet", "dark")])
def test_long_answers_are_shortened_and_shown_in_full_together(
    page_for, ann, project, make_comparison, axe, fits, shoot, width, theme
):
    def heights() -> list[float]:
        return shown(page, ".side-body").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")

    for n in range(2):
        make_comparison(project, (f"Dear Maria, {n}. " * 500, f"Hey, {n}. " * 300))
    make_comparison(project, ("Dear Maria.", "Hey."))
    page = page_for(ann, width=width, theme=theme)
    page.goto(DESK)
    expand = shown(page, "[data-act=expand]")
    cut = heights()
    assert cut[0] == cut[1] < 0.5 * page.viewport_size["height"], "the same for both, and the second is in reach"
    fits(page)
    axe(page)
    shoot(page, f"annotate-shortened-{width}")
    expand.click()
    full = heights()
    assert min(full) > 2 * cut[0]
    assert full[0] != full[1]
    assert expand.get_attribute("aria-expanded") == "true"
    page.keyboard.press("1")
    saved(page)
    assert min(heights()) > 2 * cut[0], "it stays as chosen"
    page.keyboard.press("e")
    assert heights() == cut
    page.keyboard.press("1")
    saved(page)
    assert not expand.is_visible(), "nothing to shorten"


def test_where_the_sides_scroll_nothing_is_shortened(page_for, ann, project, make_comparison):
    make_comparison(project, ("Dear Maria. " * 500, "Hey. " * 500))
    page = page_for(ann, width="wide")
    page.goto(DESK)
    assert not shown(page, "[data-act=expand]").is_visible()
    a, b = shown(page, ".side-body").evaluate_all("all => all.map(one => [one.clientHeight, one.scrollHeight])")
    assert a[0] == b[0]
    assert a[1] > a[0]
