"""What a judge's card says of how far it can be believed, counted by hand."""

from __future__ import annotations

import pytest

from apps.judging.figures import judge_figures

pytestmark = pytest.mark.django_db


@pytest.fixture
def hosted(project, make_judge):
    return make_judge(project, "hosted-judge")


@pytest.mark.slow
def test_the_figures_are_those_of_a_count_by_hand(hosted, make_comparison, make_verdict, make_vote, project):
    gold = make_comparison(project, held_out=True, gold="first")
    voted = make_comparison(project)
    split_votes = make_comparison(project)
    for rater in ("x", "y"):
        make_vote(voted, "second", rater=rater)
    make_vote(voted, "first", rater="z")
    make_vote(split_votes, "first", rater="x")
    make_vote(split_votes, "second", rater="y")
    changed = make_vote(gold, "second", rater="x")  # gold wins over votes
    make_vote(gold, "withdrawn", rater="x", supersedes=changed)
    # gold: right in both orders; voted: right in one; split: no truth. Shown first chosen: gold 01, voted 01, split 10.
    for comparison, one, ten in (
        (gold, "first", "first"),
        (voted, "first", "second"),
        (split_votes, "second", "second"),
    ):
        make_verdict(comparison, one, judge=hosted, order="01")
        make_verdict(comparison, ten, judge=hosted, order="10")
    make_verdict(make_comparison(project), "", judge=hosted)
    figures = judge_figures(project)[hosted.pk]
    assert (figures.n, figures.n_unreadable, figures.truth) == (6, 1, "both")
    assert (figures.agreement.n, figures.agreement.rate) == (2, 0.75)
    assert (figures.consistency.n, figures.consistency.rate) == (3, pytest.approx(2 / 3))
    assert (figures.first_slot.n, figures.first_slot.rate) == (6, pytest.approx(4 / 6))
    assert (figures.agreement.n_comparisons, figures.agreement.n_verdicts) == (2, 4)
    assert (figures.first_slot.n_comparisons, figures.first_slot.n_verdicts) == (3, 6)
    # 1 and ½ over two comparisons: their mean's variance is 2 (2 · ¼²) / 4 = 1/16, so 0.1875 · 16 = 3 tries. Wilson's
    # with Student's t of one degree of freedom, t² = 161.45: (0.75 + 26.908 ± 12.706 √(1/16 + 4.4847)) / 54.816
    assert figures.agreement.low == pytest.approx(0.0103, abs=2e-4)
    assert figures.agreement.high == pytest.approx(0.9989, abs=2e-4)


def test_the_figures_follow_new_votes_and_verdicts(hosted, make_comparison, make_verdict, make_vote, project):
    comparison = make_comparison(project)
    make_verdict(comparison, "first", judge=hosted)
    assert judge_figures(project)[hosted.pk].agreement.n == 0
    make_vote(comparison, "first", rater="x")
    assert judge_figures(project)[hosted.pk].agreement.rate == 1.0
    make_verdict(comparison, "second", judge=hosted, order="10")
    assert judge_figures(project)[hosted.pk].agreement.rate == 0.5


@pytest.mark.slow
def test_where_orders_are_averaged_the_average_is_held_against_the_truth_too(
    project, alice, make_judge, make_comparison, make_verdict, client_for
):
    """A judge that leans to the first shown is right in one order only; its average follows the surer order."""
    judge = make_judge(project, "averages", order_policy="average")
    for gold, one, ten in (("first", 0.9, 0.4), ("first", 0.8, 0.1), ("second", 0.6, 0.1)):
        comparison = make_comparison(project, held_out=True, gold=gold)
        for order, p in (("01", one), ("10", ten)):
            make_verdict(comparison, "first" if p > 0.5 else "second", judge=judge, order=order, p_first=p)
    asked_once = make_comparison(project, held_out=True, gold="first")
    make_verdict(asked_once, judge=judge, p_first=0.9)
    figures = judge_figures(project)[judge.pk]
    assert (figures.agreement.n, figures.agreement.rate) == (4, pytest.approx(2.5 / 4))
    # 0.65 is first, 0.45 second, 0.35 second: the first and the third are right; what has one order is no label yet
    assert (figures.label.n, figures.label.rate) == (3, pytest.approx(2 / 3))
    page = f"/p/{project.slug}/judges/{judge.pk}/"
    assert "Both orders averaged" in client_for(alice).get(page).content.decode()
    both = make_judge(project, "both-agree")
    make_verdict(asked_once, judge=both)
    assert judge_figures(project)[both.pk].label.n == 0


@pytest.mark.slow
def test_a_judge_of_whom_nothing_could_be_read_is_not_said_to_be_silent(
    project, alice, hosted, make_comparison, make_verdict, client_for
):
    page = f"/p/{project.slug}/judges/{hosted.pk}/"
    assert "It has no verdicts yet" in client_for(alice).get(page).content.decode()
    for order in ("01", "10"):
        make_verdict(make_comparison(project), "", judge=hosted, order=order)
    assert "None of its 2 replies could be read" in client_for(alice).get(page).content.decode()
