"""The review page in a real browser: agree and override by one key each, and see what that changed."""

from __future__ import annotations

import pytest

from apps.labels.models import Override, Preference
from apps.labels.services import preferences_derive
from apps.rankings import selectors
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db(transaction=True)
REVIEW = "/p/letters-test/review/"


@pytest.fixture
def judged(transactional_db, project, make_comparison, make_judge, make_verdict):
    """Six comparisons: the orders disagree, a narrow margin, and four sure ones."""
    from django.utils import timezone

    project.label_judge = "kind-judge"
    project.save()
    judge = make_judge(project, "kind-judge")
    made = []
    for number, (p, q) in enumerate([(0.7, 0.3), (0.55, 0.52), (0.9, 0.95), (0.92, 0.9), (0.97, 0.99), (0.1, 0.05)]):
        comparison = make_comparison(project, (f"Dear Maria, thank you, {number}.", f"Hey, got it, {number}."))
        for order, value in (("01", p), ("10", q)):
            make_verdict(
                comparison,
                "first" if value > 0.5 else "second",
                judge=judge,
                order=order,
                p_first=value,
                rationale=f"It says “thank you, {number}”, which is kind.",
            )
        made.append(comparison)
    preferences_derive(project=project, now=timezone.now())
    return made


def item(page) -> int:
    return int(page.locator("[data-item]").get_attribute("data-id"))


def moved(page, from_id: int) -> None:
    page.wait_for_function("id => Number(document.querySelector('[data-item]').dataset.id) !== id", arg=from_id)


def test_the_most_telling_come_first_with_the_reason_in_words(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    rows = page.locator("[data-row]")
    assert rows.count() == 6
    assert "orders disagree" in rows.nth(0).inner_text()
    assert "margin 0.04" in rows.nth(1).inner_text() or "margin 0.03" in rows.nth(1).inner_text()
    assert item(page) == judged[0].pk


def test_agree_override_undo_and_move_by_keyboard(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    page.keyboard.press("j")
    moved(page, judged[0].pk)
    second = item(page)
    assert second == judged[1].pk
    page.keyboard.press("Enter")
    moved(page, second)
    agreed = Override.objects.get()
    assert (agreed.comparison_id, agreed.kind, agreed.choice, agreed.rater) == (second, "agree", "first", "bob")
    label = Preference.objects.get(comparison_id=second)
    assert (label.source, label.p_first) == ("judge:kind-judge", pytest.approx(0.535))
    third = item(page)
    page.keyboard.press("o")
    page.get_by_text("Fell for length").click()
    page.locator("#override-reason").fill("far too long")
    page.keyboard.press("Escape")
    page.keyboard.press("o")
    page.keyboard.press("3")  # no judge said so of any of them, whichever comes third
    moved(page, third)
    changed = Override.objects.get(comparison_id=third)
    assert (changed.kind, changed.choice) == ("override", "tie")
    assert changed.reason == "Fell for length — far too long"
    assert Preference.objects.get(comparison_id=third).source == "override"
    strip = page.locator("[data-strip]").inner_text()
    assert "Reviewed\n2" in strip
    assert "Overridden\n1" in strip
    page.keyboard.press("u")
    page.wait_for_function(
        "() => document.querySelector('[data-strip]').innerText.replace(/\\s+/g, ' ').includes('Overridden 0')"
    )
    assert item(page) == third
    assert Override.objects.filter(comparison_id=third, kind="withdrawn").count() == 1
    assert Preference.objects.get(comparison_id=third).source == "judge:kind-judge"


def test_agreeing_where_the_orders_disagree_leaves_the_pair_out(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    page.keyboard.press("Enter")
    moved(page, judged[0].pk)
    made = Override.objects.get()
    assert (made.kind, made.choice, made.judge_outcome) == ("agree", "", "inconsistent")
    assert Preference.objects.get(comparison=judged[0]).p_first is None


def test_quotes_of_the_rationale_are_marked_in_the_answers(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    assert page.locator("[data-answer] mark").all_inner_texts() == ["thank you, 0"]
    assert set(page.locator("[data-rationale] mark").all_inner_texts()) == {"thank you, 0"}


def test_whoever_looked_is_not_asked_for_a_blind_vote(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    assert Exposure.objects.filter(user=bob).values_list("comparison_id", flat=True)[0] == judged[0].pk
    page.goto("/p/letters-test/annotate/")
    page.goto(f"/p/letters-test/annotate/{judged[0].pk}/")
    assert "You have seen a label of this pair" in page.content()


def test_it_works_without_scripts(page_for, bob, judged):
    page = page_for(bob, scripts=False)
    page.goto(REVIEW)
    page.locator("[data-override] summary").click()
    page.get_by_role("button", name="B is better", exact=True).click()
    assert Override.objects.get().choice == "second"
    assert item(page) == judged[1].pk
    page.get_by_role("button", name="Agree", exact=True).click()
    assert Override.objects.count() == 2


def test_a_failed_save_is_said_and_nothing_moves(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    page.route("**/decide/", lambda route: route.abort())
    page.keyboard.press("Enter")
    page.locator("[data-notice]").wait_for()
    assert "nothing was saved" in page.locator("[data-notice]").inner_text()
    assert item(page) == judged[0].pk
    assert Override.objects.count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "phone"])
def test_everybody_can_use_it_on_every_screen(page_for, bob, judged, axe, fits, shoot, theme, width):
    page = page_for(bob, theme=theme, width=width)
    page.goto(f"{REVIEW}{judged[2].pk}/")
    axe(page)
    fits(page)
    shoot(page, f"review-{width}-{theme}")
    page.locator("[data-override] summary").click()
    axe(page)
    fits(page)
    page.goto(f"/p/letters-test/comparisons/{judged[2].pk}/")
    axe(page)
    fits(page)
    shoot(page, f"comparison-{width}-{theme}")


def test_a_decision_made_signed_out_is_not_lost_in_silence_and_leads_back(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    page.context.clear_cookies()
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name="Sign in again")
    link.wait_for()
    assert link.get_attribute("href").startswith("/login/?next=%2Fp%2Fletters-test%2Freview%2F")
    assert Override.objects.count() == 0


def rail(page) -> str:
    return page.locator(".rail-item[aria-current] > .n").inner_text()


def test_the_rail_counts_the_project_s_judge_whoever_is_under_review_and_agrees_with_the_page(
    page_for, bob, project, judged, make_comparison, make_judge, make_verdict
):
    other = make_judge(project, "other-judge")
    for comparison in (judged[3], *(make_comparison(project) for _ in range(3))):
        make_verdict(comparison, "first", judge=other)
    page = page_for(bob)
    page.goto(f"{REVIEW}?judge=other-judge")
    assert (rail(page), page.locator("[data-queue-count]").inner_text()[:1]) == ("6", "4")
    for _ in range(3):
        before = item(page)
        page.keyboard.press("Enter")
        moved(page, before)
    shown = rail(page)
    page.goto(REVIEW)
    assert rail(page) == shown == page.locator("[data-queue-count]").inner_text()[:1]


def test_what_is_said_of_saving_moves_nothing_in_the_head(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    head = page.locator(".review-head")
    before = (head.bounding_box(), page.get_by_role("link", name="To review").bounding_box()["height"])
    page.keyboard.press("Enter")
    page.locator("[data-saved]", has_text="Agreed").or_(page.locator("[data-saved]", has_text="Saved")).wait_for()
    assert (head.bounding_box(), page.get_by_role("link", name="To review").bounding_box()["height"]) == before


def test_a_decision_can_be_taken_back_after_a_reload_the_last_one_first(page_for, bob, judged):
    page = page_for(bob)
    page.goto(REVIEW)
    decided = []
    for _ in range(2):
        decided.append(item(page))
        page.keyboard.press("Enter")
        moved(page, decided[-1])
    page.goto(REVIEW)
    for left, pk in ((5, decided[1]), (6, decided[0])):
        page.keyboard.press("u")
        page.wait_for_url(f"**/review/{pk}/**")
        page.locator("[data-item]").wait_for()
        assert item(page) == pk
        assert rail(page) == str(left)
    page.keyboard.press("u")
    page.get_by_text("There is no decision of yours to take back here.").wait_for()
    assert [row.kind for row in Override.objects.order_by("id")] == ["agree"] * 2 + ["withdrawn"] * 2


def test_the_next_pair_is_there_before_it_is_asked_for_and_the_list_goes_on(page_for, bob, judged, monkeypatch):
    """Each pair is fetched once, ahead of its turn; after the last line the page goes on to what is left."""
    monkeypatch.setattr(selectors.review_queue, "__kwdefaults__", {**selectors.review_queue.__kwdefaults__, "limit": 2})
    page = page_for(bob)
    fetched = []
    page.on("request", lambda request: fetched.append(request.url) if "part=detail" in request.url else None)
    with page.expect_response("**part=detail**"):
        page.goto(REVIEW)
    assert [f"/{judged[1].pk}/" in url for url in fetched] == [True]
    assert page.locator("[data-row]").count() == 2
    page.keyboard.press("Enter")
    moved(page, judged[0].pk)
    assert item(page) == judged[1].pk
    assert len(fetched) == 1
    page.keyboard.press("Enter")
    page.wait_for_function("id => Number(document.querySelector('[data-item]')?.dataset.id) !== id", arg=judged[1].pk)
    assert page.locator("[data-row]").count() == 2
    assert Override.objects.count() == 2
    assert "4 comparisons" in page.locator("[data-queue-count]").inner_text()
