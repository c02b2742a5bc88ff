"""Rating answers by a rubric at the desk: by keyboard alone, by touch on a small phone, offline, without scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import PairFlag, Rating
from apps.labels.ratings import standing_ratings
from apps.labels.selectors import standing_votes
from apps.projects.services import guideline_add
from prefloop.rubrics import rubric_read

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"
RUBRIC = (
    "correct: Is everything that it says true?\nwarm: Does it sound warm?\nthanks (yes/no, weight 2): Does it thank?"
)


def ask(project, rubric=RUBRIC):
    return guideline_add(
        project=project, text="Prefer warm letters.", actor=None, task="rating", rubric=rubric_read(rubric)
    )


@pytest.fixture
def answers(transactional_db, project, make_prompt, make_completion):
    """Three prompts with two answers each, to rate."""
    for _ in range(3):
        prompt = make_prompt(project)
        for n in range(2):
            make_completion(
                prompt, f"Dear Maria, thank you {'very ' * n}much for the flowers.", model_name=f"secret-{n}"
            )
    return ask(project)


def desk(page_for, ann, **how):
    page = page_for(ann, **how)
    page.goto(DESK)
    page.keyboard.press("g")
    return page


def saved(page, n: int) -> None:
    page.wait_for_function("n => document.querySelector('[data-progress]').textContent.startsWith(n)", arg=f"{n} ")
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


def chosen(page) -> dict[str, str]:
    return page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('[data-pair]:not([hidden]) [data-value]:checked')]"
        ".map((one) => [one.closest('[data-item]').dataset.item, one.value]))"
    )


def current(page) -> str:
    return page.locator("[data-pair]:not([hidden]) .is-current").get_attribute("data-item")


def press(page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def test_a_rubric_by_keyboard_alone(page_for, ann, project, answers):
    page = desk(page_for, ann)
    assert page.url.endswith("/annotate/rate/"), "Annotate leads to the task of the project"
    press(page, "4 Enter")
    assert "warm has no value" in page.locator("[data-notice]").inner_text()
    assert current(page) == "warm"
    press(page, "2 1")
    assert chosen(page) == {"correct": "4", "warm": "2", "thanks": "1"}
    assert "thanks: Yes" in page.locator("#announcer").inner_text()
    press(page, "ArrowUp ArrowRight ArrowRight ArrowUp ArrowLeft")
    assert (current(page), chosen(page)) == ("correct", {"correct": "3", "warm": "4", "thanks": "1"})
    page.keyboard.press("Enter")
    saved(page, 1)
    rating = standing_ratings().get()
    assert (rating.values, rating.guideline, rating.rater) == ({"correct": 3, "warm": 4, "thanks": 1}, "v1", "ann")
    assert rating.seconds > 0
    press(page, "5 5 2 Enter")  # the second answer of the same prompt: no is the second option
    saved(page, 2)
    assert Rating.objects.latest("id").values == {"correct": 5, "warm": 5, "thanks": 0}
    assert standing_votes().count() == 1
    page.keyboard.press("u")  # back, as it was left
    assert chosen(page) == {"correct": "5", "warm": "5", "thanks": "0"}
    press(page, "ArrowDown ArrowDown ArrowLeft Enter")
    saved(page, 2)
    assert Rating.objects.latest("id").values == {"correct": 5, "warm": 5, "thanks": 1}
    assert (standing_ratings().count(), standing_votes().count()) == (2, 1)


def test_what_was_chosen_is_there_after_a_reload_and_so_is_an_undo(page_for, ann, project, answers):
    page = desk(page_for, ann)
    press(page, "3 3 1 Enter 4")
    saved(page, 1)
    page.reload()
    assert (chosen(page), current(page)) == ({"correct": "4"}, "warm")
    page.keyboard.press("u")
    page.wait_for_function("() => document.querySelector('[data-progress]').textContent.startsWith('0 ')")
    assert not standing_ratings().exists()
    press(page, "1 1 2 Enter")
    saved(page, 1)
    assert standing_ratings().get().total == 0


def test_tab_goes_from_item_to_item_and_why_is_kept(page_for, ann, project, answers):
    page = desk(page_for, ann)
    page.locator("[data-pair]:not([hidden]) [data-item=warm] [data-value='1']").focus()
    assert current(page) == "warm"
    page.keyboard.press("Tab")
    assert current(page) == "thanks"
    press(page, "1 ArrowUp 5 ArrowUp ArrowUp 2 n")
    page.keyboard.type("It is warm, but wrong.")
    press(page, "Escape Enter")
    saved(page, 1)
    rating = standing_ratings().get()
    assert (rating.values, rating.reason) == ({"correct": 2, "warm": 5, "thanks": 1}, "It is warm, but wrong.")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_by_touch_at_360_pixels(page_for, ann, project, answers, fits, axe, shoot, theme):
    page = desk(page_for, ann, width="small", theme=theme)
    fits(page)
    axe(page)
    shoot(page, f"rate-small-{theme}")
    shown = page.locator("[data-pair]:not([hidden])")
    for item, value in (("correct", "4"), ("warm", "5"), ("thanks", "0")):
        option = shown.locator(f"[data-item={item}] label", has=page.locator(f"[data-value='{value}']"))
        option.scroll_into_view_if_needed()
        box = option.bounding_box()
        assert min(box["width"], box["height"]) >= 44
        option.tap() if page.evaluate("() => navigator.maxTouchPoints > 0") else option.click()
    fits(page)
    axe(page)
    shoot(page, f"rate-small-{theme}-chosen")
    save = page.get_by_role("button", name="Save", exact=True)
    assert save.bounding_box()["height"] >= 44
    save.click()
    saved(page, 1)
    assert standing_ratings().get().values == {"correct": 4, "warm": 5, "thanks": 0}
    fits(page)


@pytest.mark.parametrize(
    ("width", "theme"), [("wide", "light"), ("wide", "dark"), ("tablet", "dark"), ("doubled", "light")]
)
def test_axe_finds_nothing_and_nothing_is_cut(page_for, ann, project, answers, fits, axe, shoot, width, theme):
    page = desk(page_for, ann, width=width, theme=theme)
    press(page, "4 2")
    fits(page)
    axe(page)
    shoot(page, f"rate-{width}-{theme}")
    page.keyboard.press("?")
    axe(page)
    expect(page.locator("[data-keys] dd", has_text="go to the next")).to_be_visible()


def test_ratings_made_offline_arrive_once(page_for, ann, project, answers):
    page = desk(page_for, ann)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length === 6")
    page.context.set_offline(True)
    for _ in range(4):
        press(page, "3 4 1 Enter")
    assert Rating.objects.count() == 0
    page.context.set_offline(False)
    saved(page, 4)
    assert (Rating.objects.count(), standing_ratings().count()) == (4, 4)


def test_skip_and_cant_judge(page_for, ann, project, answers):
    page = desk(page_for, ann)
    page.keyboard.press("c")
    saved(page, 1)
    press(page, "s 1")
    saved(page, 2)
    press(page, "3")
    assert chosen(page) == {"correct": "3"}, "the digit after the reason is the rubric's"
    assert sorted(Rating.objects.values_list("choice", "reason")) == [
        ("cant_judge", ""),
        ("skip", "I don't know the subject"),
    ]


def test_an_answer_that_waits_is_asked_by_the_new_rubric(page_for, ann, project, answers):
    page = desk(page_for, ann)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length === 6")
    ask(project, "short (yes/no): Is it short?")
    press(page, "3 4 1 Enter")
    saved(page, 1)  # with the reply comes the new version; it holds from the answer after the one on the screen
    press(page, "5 4 1 Enter")
    saved(page, 2)
    page.locator("[data-pair]:not([hidden]) [data-item=short]").wait_for()
    press(page, "g 1 Enter")
    saved(page, 3)
    assert list(Rating.objects.order_by("id").values_list("guideline", "values")) == [
        ("v1", {"correct": 3, "warm": 4, "thanks": 1}),
        ("v1", {"correct": 5, "warm": 4, "thanks": 1}),
        ("v2", {"short": 1}),
    ]


def test_it_works_without_scripts(page_for, ann, project, answers):
    page = page_for(ann, scripts=False)
    page.goto(DESK)
    shown = page.locator("[data-pair]:not([hidden])")
    for item, value in (("correct", "4"), ("warm", "5")):
        shown.locator(f"[data-item={item}] label", has=page.locator(f"[data-value='{value}']")).click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("'thanks' has no value")).to_be_visible()
    shown = page.locator("[data-pair]:not([hidden])")
    for item, value in (("correct", "4"), ("warm", "5"), ("thanks", "1")):
        shown.locator(f"[data-item={item}] label", has=page.locator(f"[data-value='{value}']")).click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("[data-progress]")).to_contain_text("1 of 6")
    assert standing_ratings().get().values == {"correct": 4, "warm": 5, "thanks": 1}


def test_the_page_says_nothing_of_the_authors(page_for, ann, project, answers):
    page = desk(page_for, ann)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length === 6")
    assert "secret" not in page.content()


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "dark")])
def test_an_answer_is_flagged_by_keyboard_and_can_still_be_rated(
    page_for, ann, project, answers, axe, fits, shoot, width, theme
):
    page = desk(page_for, ann, width=width, theme=theme)
    button = page.locator("[data-pair]:not([hidden]) [data-act=flag]")
    axe(page)
    page.keyboard.press("f")
    expect(page.get_by_role("heading", name="Flag this answer for a lead")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"rate-flag-{width}")
    page.keyboard.press("3")  # picks a reason, and gives no value
    expect(button).to_have_attribute("aria-pressed", "true")
    assert "You can still rate this answer" in page.locator("#announcer").inner_text()
    assert chosen(page) == {}
    fits(page)
    shoot(page, f"rate-flagged-{width}")
    page.context.set_offline(True)
    page.keyboard.press("f")
    page.keyboard.press("6")
    for key in ("5", "4", "1", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'offline'")
    page.context.set_offline(False)
    saved(page, 1)
    flags = PairFlag.objects.order_by("id")
    assert [(flag.reason, flag.completion_id) for flag in flags] == [
        ("private", Rating.objects.get().completion_id),
        ("other", Rating.objects.get().completion_id),
    ]
    page.keyboard.press("u")
    expect(button).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("f")
    page.keyboard.press("0")
    expect(button).to_have_attribute("aria-pressed", "false")
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")
    assert not flags.filter(resolved_at=None).exists()
