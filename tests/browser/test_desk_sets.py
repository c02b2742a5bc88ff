"""Ranking sets of answers at the desk: by keyboard alone, by drag, by touch on a small phone, offline."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.labels.models import Ranking, Vote
from apps.labels.selectors import standing_votes
from apps.projects.services import guideline_add

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"


@pytest.fixture
def sets(transactional_db, project, make_prompt, make_completion):
    """Six prompts with five answers each, to rank."""
    for _ in range(6):
        prompt = make_prompt(project)
        for n in range(5):
            make_completion(
                prompt, f"Dear Maria, thank you {'very ' * n}much for the flowers.", model_name=f"secret-{n}"
            )
    return guideline_add(project=project, text="Prefer the warmer letter.", actor=None, task="ranking", set_size=5)


def desk(page_for, ann, **how):
    page = page_for(ann, **how)
    page.goto(DESK)
    page.keyboard.press("g")
    return page


def saved(page, n: int) -> None:
    page.wait_for_function("n => document.querySelector('[data-progress]').textContent.startsWith(n)", arg=f"{n} ")
    page.wait_for_function("() => document.querySelector('[data-saved][data-state=saved]')?.textContent")


def last_groups() -> list[list[int]]:
    """The last ranking, in places on the screen."""
    ranking = Ranking.objects.latest("id")
    return [sorted(ranking.shown.index(pk) for pk in group) for group in ranking.groups]


def boxes(page) -> list[str]:
    return page.evaluate(
        "() => [...document.querySelectorAll('[data-box]')].map((b) => [...b.querySelectorAll('[data-chip]')]"
        ".map((c) => c.textContent).join(''))"
    )


def test_a_ranking_of_five_by_keyboard_alone(page_for, ann, project, sets):
    page = desk(page_for, ann)
    for key in ("3", "1", "Shift+Digit5", "2"):
        page.keyboard.press(key)
    assert boxes(page) == ["C", "AE", "B"]
    page.keyboard.press("Enter")
    assert "Place every answer" in page.locator("[data-notice]").inner_text()
    page.keyboard.press("4")
    assert "D: place 4" in page.locator("#announcer").inner_text()
    page.keyboard.press("Enter")
    saved(page, 1)
    assert last_groups() == [[2], [0, 4], [1], [3]]
    assert standing_votes().count() == 10
    assert Ranking.objects.get().seconds > 0
    page.keyboard.press("u")  # back, as it was left
    assert boxes(page) == ["C", "AE", "B", "D"]
    page.keyboard.press("Backspace")
    assert boxes(page) == ["C", "AE", "B"]
    page.keyboard.press("2")  # pressed again, it is taken out
    for key in ("4", "2", "Enter"):
        page.keyboard.press(key)
    saved(page, 1)
    assert last_groups() == [[2], [0, 4], [3], [1]]
    assert (Ranking.objects.count(), standing_votes().count()) == (2, 10)


def test_arrows_move_a_letter_into_a_tie_and_out_of_it(page_for, ann, project, sets):
    page = desk(page_for, ann)
    for key in "12345":
        page.keyboard.press(key)
    page.locator("[data-chip='2']").focus()
    seen = []
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
        seen.append(boxes(page))
    assert seen == [
        ["A", "BC", "D", "E"],
        ["A", "C", "B", "D", "E"],
        ["AC", "B", "D", "E"],
        ["A", "C", "B", "D", "E"],
        ["A", "BC", "D", "E"],
    ]
    page.keyboard.press("Enter")
    saved(page, 1)
    assert last_groups() == [[0], [1, 2], [3], [4]]


def test_letters_are_dragged_between_into_and_out_of_boxes(page_for, ann, project, sets):
    page = desk(page_for, ann)

    def drag(chip: int, to: str) -> None:
        start, end = page.locator(f"[data-chip='{chip}']").bounding_box(), page.locator(to).bounding_box()
        page.mouse.move(start["x"] + 15, start["y"] + 15)
        page.mouse.down()
        page.mouse.move(start["x"] + 40, start["y"] + 5, steps=3)
        end = page.locator(to).bounding_box()  # gaps widen meanwhile
        page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=5)
        page.mouse.up()

    drag(3, "[data-gap='0']")
    drag(1, "[data-gap='1']")
    assert boxes(page) == ["D", "B"]
    drag(0, "[data-box='1']")
    drag(2, "[data-gap='1']")
    assert boxes(page) == ["D", "C", "AB"]
    drag(3, "[data-rank-pool]")
    drag(4, "[data-gap='0']")
    assert boxes(page) == ["E", "C", "AB"]
    drag(3, "[data-gap='3']")
    page.keyboard.press("Enter")
    saved(page, 1)
    assert last_groups() == [[4], [2], [0, 1], [3]]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_by_touch_at_360_pixels(page_for, ann, project, sets, fits, axe, theme):
    page = desk(page_for, ann, width="small", theme=theme)
    fits(page)
    axe(page)
    for letter in "CABDE":
        chip = page.locator("[data-rank-pool] [data-chip]", has_text=letter)
        box = chip.bounding_box()
        assert min(box["width"], box["height"]) >= 40
        chip.click()
    fits(page)
    axe(page)
    save = page.get_by_role("button", name="Save", exact=True)
    assert save.bounding_box()["height"] >= 44
    save.click()
    saved(page, 1)
    assert last_groups() == [[2], [0], [1], [3], [4]]
    fits(page)


@pytest.mark.parametrize(
    ("width", "theme"), [("wide", "light"), ("wide", "dark"), ("tablet", "dark"), ("doubled", "light")]
)
def test_axe_finds_nothing_and_nothing_is_cut(page_for, ann, project, sets, fits, axe, width, theme):
    page = desk(page_for, ann, width=width, theme=theme)
    for key in ("3", "1", "Shift+Digit5"):
        page.keyboard.press(key)
    fits(page)
    axe(page)
    page.keyboard.press("?")
    axe(page)
    expect(page.locator("[data-keys] dd", has_text="Place an answer next")).to_be_visible()
    assert not page.locator("[data-keys] dd", has_text="Both bad").is_visible()


def test_rankings_made_offline_arrive_once(page_for, ann, project, sets):
    page = desk(page_for, ann)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length === 6")
    page.context.set_offline(True)
    for _ in range(4):
        for key in ("1", "2", "3", "4", "5", "Enter"):
            page.keyboard.press(key)
    assert Ranking.objects.count() == 0
    page.context.set_offline(False)
    saved(page, 4)
    assert (Ranking.objects.count(), Vote.objects.count()) == (4, 40)


def test_skip_cant_judge_and_flag_are_of_the_set(page_for, ann, project, sets):
    page = desk(page_for, ann)
    page.keyboard.press("c")
    saved(page, 1)
    page.keyboard.press("s")
    page.keyboard.press("s")
    saved(page, 2)
    page.keyboard.press("f")
    page.keyboard.press("1")
    page.keyboard.press("1")
    assert boxes(page) == ["A"], "the digit after the flag is the ranking's"
    assert sorted(Vote.objects.values_list("choice", flat=True)) == ["cant_judge", "skip"]


def test_the_best_and_the_worst(page_for, ann, project, sets, axe):
    guideline_add(project=project, text="Prefer the warmer letter.", actor=None, task="best_worst", set_size=5)
    page = desk(page_for, ann)
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    assert "Choose the best and the worst" in page.locator("[data-notice]").inner_text()
    page.keyboard.press("2")
    assert boxes(page) == ["D", "B"]
    axe(page)
    page.keyboard.press("Enter")
    saved(page, 1)
    assert last_groups() == [[3], [0, 2, 4], [1]]
    page.keyboard.press("Shift+Digit1")
    page.keyboard.press("2")
    assert boxes(page) == ["B", "A"]


def test_a_set_that_waits_becomes_a_pair_where_the_guideline_turns_to_pairs(page_for, ann, project, sets):
    page = desk(page_for, ann)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length === 6")
    guideline_add(project=project, text="Prefer the shorter letter.", actor=None)
    for key in ("1", "2", "3", "4", "5", "Enter"):
        page.keyboard.press(key)
    saved(page, 1)
    for n in (2, 3):
        if page.locator("[data-guide-place]").get_attribute("data-guideline") == "v2":
            break
        for key in ("1", "2", "3", "4", "5", "Enter"):
            page.keyboard.press(key)
        saved(page, n)
    page.get_by_role("button", name="A is better", exact=True).wait_for()
    n = Ranking.objects.count()
    page.keyboard.press("1")
    saved(page, n + 1)
    assert Vote.objects.filter(ranking=None).count() == 1


def test_the_page_says_nothing_of_the_authors(page_for, ann, project, sets):
    page = desk(page_for, ann)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length === 6")
    assert "secret" not in page.content()
