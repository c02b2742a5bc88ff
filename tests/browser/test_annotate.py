"""The desk in a real browser: a session by keyboard, nothing lost offline, and nothing seen that is not to be seen."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from apps.labels.models import Override, Vote

pytestmark = pytest.mark.django_db(transaction=True)
DESK = "/p/letters-test/annotate/"
CANARIES = ("canary-model", "canary-judge", "canary-rationale", "canary-other", "gold", "held_out", "0.8125")


@pytest.fixture
def comparisons(transactional_db, project, make_comparison):
    return [
        make_comparison(
            project, (f"Dear Maria, thank you, number {n}.", f"Hey. Got it, number {n}."), models=("m1", "m2")
        )
        for n in range(8)
    ]


def settled(page) -> None:
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'saved'")
    page.wait_for_function("() => document.querySelector('[data-saved]').textContent !== ''")


def shown(page) -> str:
    return page.locator("[data-pair]:not([hidden])").get_attribute("data-assignment")


def texts(page) -> list[str]:
    return page.locator("[data-pair]:not([hidden]) .side-body").all_inner_texts()


def test_five_votes_and_an_undo_by_keyboard(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    seen = []
    for key in ("1", "ArrowRight", "3", "4", "s"):
        seen.append(shown(page))
        page.keyboard.press(key)
    page.keyboard.press("s")  # the first one asks why
    assert len(set(seen)) == 5
    assert page.locator("[data-progress]").inner_text().startswith("5 of 8")
    settled(page)
    votes = list(Vote.objects.order_by("id"))
    assert [vote.assignment_id for vote in votes] == [int(one) for one in seen]
    left = {"01": "first", "10": "second"}
    right = {"01": "second", "10": "first"}
    assert votes[0].choice == left[votes[0].order]
    assert votes[1].choice == right[votes[1].order]
    assert [vote.choice for vote in votes[2:]] == ["tie", "both_bad", "skip"]
    assert all(vote.seconds is not None for vote in votes)
    page.keyboard.press("u")
    assert shown(page) == seen[4]
    page.keyboard.press("Backspace")
    assert shown(page) == seen[3]
    page.keyboard.press("2")
    settled(page)
    assert Vote.objects.filter(choice="withdrawn").count() == 2
    again = Vote.objects.order_by("id").last()
    assert again.assignment_id == int(seen[3])
    assert again.choice == right[again.order]


def test_undo_works_after_a_reload(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    first = shown(page)
    page.keyboard.press("1")
    settled(page)
    page.goto(DESK)
    assert shown(page) != first
    page.keyboard.press("u")
    page.wait_for_function(
        "id => document.querySelector('[data-pair]:not([hidden])').dataset.assignment === id", arg=first
    )
    assert Vote.objects.filter(choice="withdrawn").count() == 1


def test_the_next_pair_is_painted_at_once(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length >= 3")
    took = page.evaluate(
        """async () => {
          const start = performance.now();
          document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true}));
          await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
          return performance.now() - start;
        }"""
    )
    assert took < 100
    settled(page)


def test_answers_given_offline_survive_a_reload_and_arrive_once(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.wait_for_function("() => document.querySelectorAll('[data-pair]').length >= 3")
    page.route("**/annotate/vote/", lambda route: route.abort())
    page.route("**/annotate/next/", lambda route: route.abort())
    answered = []
    for key in ("1", "2", "3"):
        answered.append(int(shown(page)))
        page.keyboard.press(key)
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'retrying'")
    assert "3 kept" in page.locator("[data-saved]").inner_text()
    assert Vote.objects.count() == 0
    page.reload()
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'retrying'")
    page.unroute("**/annotate/vote/")
    page.unroute("**/annotate/next/")
    page.evaluate("() => window.dispatchEvent(new Event('online'))")
    settled(page)
    assert sorted(Vote.objects.values_list("assignment_id", flat=True)) == sorted(answered)
    assert page.evaluate("() => Object.keys(localStorage).filter(key => key.includes('outbox'))") == []


def test_an_answer_whose_reply_was_lost_is_not_counted_twice(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    lost = []

    def lose_one(route):
        route.fetch()
        lost.append(1)
        route.abort() if len(lost) == 1 else route.continue_()

    page.route("**/annotate/vote/", lose_one)
    page.keyboard.press("1")
    settled(page)
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'saved'")
    assert len(lost) >= 2
    assert Vote.objects.count() == 1


def test_answers_given_after_the_session_ended_are_kept_until_one_is_back(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    cookies = page.context.cookies()
    page.context.clear_cookies()
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelector('[data-saved]').dataset.state === 'signed-out'")
    assert "1 kept" in page.locator("[data-saved]").inner_text()
    link = page.get_by_role("link", name="Sign in again to send")
    assert link.get_attribute("href") == "/login/?next=%2Fp%2Fletters-test%2Fannotate%2F"
    page.context.add_cookies(cookies)
    page.reload()
    settled(page)
    assert Vote.objects.count() == 1


def test_an_answer_that_came_too_late_is_said_aloud(page_for, ann, comparisons):
    from apps.rankings.models import Assignment
    from apps.samples import exposure

    page = page_for(ann)
    page.goto(DESK)
    held = Assignment.objects.get(pk=shown(page))
    exposure.shown(user_id=ann.pk, comparison_ids=[held.comparison_id], where="test")
    page.keyboard.press("1")
    notice = page.locator("[data-notice]")
    notice.wait_for()
    assert "not counted" in notice.inner_text()
    assert Vote.objects.count() == 0


def test_keys_do_nothing_while_a_note_is_written(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    first = shown(page)
    page.keyboard.press("n")
    page.keyboard.type("1 u s 3 because it is kind")
    assert shown(page) == first
    page.reload()
    page.keyboard.press("n")
    assert page.locator("[data-note-text]").input_value() == "1 u s 3 because it is kind"
    page.keyboard.press("Escape")
    page.evaluate(
        "() => document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', isComposing: true, bubbles: true}))"
    )
    assert shown(page) == first
    page.keyboard.press("3")
    settled(page)
    assert Vote.objects.get().reason == "1 u s 3 because it is kind"


def test_the_keys_sheet_diff_raw_and_layout(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_be_visible()
    page.keyboard.press("1")
    assert Vote.objects.count() == 0
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    marks = page.locator("[data-pair]:not([hidden]) mark").all_inner_texts()
    assert any("Dear Maria" in mark for mark in marks)
    assert not any("number" in mark for mark in marks), "words both sides share are not marked"
    page.keyboard.press("r")
    expect(page.locator("[data-pair]:not([hidden]) .side-a pre.raw")).to_be_visible()
    page.keyboard.press("v")
    left, right = (page.locator(f"[data-pair]:not([hidden]) .side-{side}").bounding_box() for side in "ab")
    assert right["y"] > left["y"]
    page.reload()
    assert "is-stacked" in page.locator("annotate-pair").get_attribute("class")


def test_buttons_have_the_promised_names(page_for, ann, comparisons):
    page = page_for(ann)
    page.goto(DESK)
    for name in ("A is better", "B is better", "Tie", "Both bad", "Skip", "Undo"):
        assert page.get_by_role("button", name=name, exact=True).count() == 1, name
    page.get_by_role("button", name="Both bad", exact=True).click()
    settled(page)
    assert Vote.objects.get().choice == "both_bad"
    page.get_by_role("button", name="Undo", exact=True).click()
    settled(page)
    assert Vote.objects.filter(choice="withdrawn").count() == 1


def test_nothing_tells_who_wrote_what_or_what_anybody_thinks(
    page_for, ann, bob, project, make_comparison, make_judge, make_verdict, make_vote
):
    """Attack 30: DOM, JSON, headers and addresses, of the page and of everything it fetches."""
    project.votes_per_comparison = 3
    project.label_judge = "canary-judge"
    project.save()
    judge = make_judge(project, "canary-judge")
    for number in range(5):
        comparison = make_comparison(
            project,
            (f"Letter one, {number}.", f"Letter two, {number}."),
            models=("canary-model-a", "canary-model-b"),
            held_out=True,
            gold="first",
        )
        for order in ("01", "10"):
            make_verdict(comparison, "first", judge=judge, order=order, p_first=0.8125, rationale="canary-rationale")
        make_vote(comparison, "first", rater="canary-other")
        Override.objects.create(
            comparison=comparison, judge=judge, user=bob, rater="canary-other", kind="override", choice="second"
        )
    page = page_for(ann)
    received = []

    def keep(response):
        if "/static/" in response.url:
            return
        received.append(response.url + json.dumps(response.headers))
        if response.status < 300 and response.request.resource_type in {"document", "fetch", "xhr"}:
            received.append(response.text())

    page.on("response", keep)
    page.goto(DESK)
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
    settled(page)
    page.keyboard.press("u")
    page.locator("[data-history] summary").click()
    page.wait_for_selector("[data-history-list] li")
    everything = "\n".join([*received, page.content()]).lower()
    assert "letter one" in everything
    for canary in CANARIES:
        assert canary not in everything, canary


def test_sides_are_told_apart_only_by_their_letters(page_for, ann, comparisons):
    """Both halves of a pair are built alike: nothing but the letter and the text differs."""
    page = page_for(ann)
    page.goto(DESK)
    shapes = page.locator("[data-pair]:not([hidden]) .side").evaluate_all("sides => sides.map(side => side.outerHTML)")
    bare = [
        re.sub(r"Dear Maria, thank you, number \d\.|Hey\. Got it, number \d\.|side-[ab]|is-[ab]|\b[AB]\b", "", one)
        for one in shapes
    ]
    assert bare[0] == bare[1]


def test_when_all_is_done_it_says_so_and_undo_still_works(page_for, ann, project, make_comparison):
    make_comparison(project)
    page = page_for(ann)
    page.goto(DESK)
    page.keyboard.press("1")
    page.get_by_role("heading", name="All done").wait_for()
    settled(page)
    page.keyboard.press("u")
    page.locator("[data-pair]:not([hidden])").wait_for()
    settled(page)
    page.reload()
    page.locator("[data-pair]:not([hidden])").wait_for()


def test_answers_without_comparisons_are_paired_from_here(page_for, erin, bob, project, make_prompt, make_completion):
    for n in range(3):
        prompt = make_prompt(project)
        for text in ("Dear Maria.", "Hey.", "Hello there."):
            make_completion(prompt, f"{text} {n}")
    page = page_for(bob)
    page.goto(DESK)
    assert page.get_by_role("button", name="Make comparisons").count() == 0, "a lead starts nothing"
    page = page_for(erin)
    page.goto(DESK)
    page.get_by_text("3 prompts have answers that are not paired yet.").wait_for()
    page.get_by_label("Random pairs per prompt").fill("2")
    page.get_by_role("button", name="Make comparisons").click()
    page.get_by_text("6 comparisons made.").wait_for()
    assert page.locator("[data-progress]").inner_text().startswith("0 of 6")


def test_an_empty_project_says_what_comes_next(page_for, bob, project):
    page = page_for(bob)
    page.goto(DESK)
    page.get_by_role("heading", name="Nothing to compare yet").wait_for()
    assert "import_records" in page.content()


def test_it_works_without_scripts(page_for, ann, comparisons):
    page = page_for(ann, scripts=False)
    page.goto(DESK)
    page.get_by_role("button", name="A is better", exact=True).click()
    page.get_by_role("button", name="Tie", exact=True).click()
    assert Vote.objects.count() == 2
    page.get_by_role("button", name="Undo", exact=True).click()
    assert Vote.objects.filter(choice="withdrawn").count() == 1
    page.get_by_role("button", name="B is better", exact=True).click()
    assert Vote.objects.count() == 4


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "phone"])
def test_everybody_can_use_it_on_every_screen(page_for, ann, comparisons, axe, fits, shoot, theme, width):
    page = page_for(ann, theme=theme, width=width)
    page.goto(DESK)
    axe(page)
    fits(page)
    shoot(page, f"annotate-{width}-{theme}")
    box = page.get_by_role("button", name="A is better", exact=True).bounding_box()
    window = page.viewport_size
    assert box["y"] + box["height"] <= window["height"], "the answer buttons are on the screen, without scrolling"
    if width == "phone":
        assert box["height"] >= 44
        page.get_by_role("button", name="B is better", exact=True).click()
        settled(page)
        assert Vote.objects.count() == 1


def test_a_shared_link_opens_that_pair_or_says_whose_it_is(page_for, ann, bob, comparisons):
    from apps.rankings.models import Assignment

    page = page_for(ann)
    page.goto(f"{DESK}{comparisons[5].pk}/")
    assert Assignment.objects.get(pk=shown(page)).comparison_id == comparisons[5].pk
    other = page_for(bob)
    other.goto(f"{DESK}{comparisons[5].pk}/")
    assert "Somebody else has this pair" in other.content()
    page.keyboard.press("1")
    settled(page)
    page.goto(f"{DESK}{comparisons[5].pk}/")
    assert "You have answered this pair" in page.content()
    page.get_by_role("button", name="Change my answer").click()
    assert Assignment.objects.get(pk=shown(page)).comparison_id == comparisons[5].pk
