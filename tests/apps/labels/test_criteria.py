"""Named criteria: each has its own votes, judge and label, and what reads labels without naming one sees none of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction

from apps.labels.columns import agreement_columns, content_version, pairs_of, votes_of
from apps.labels.exclusions import exclusion_create, exclusion_effect
from apps.labels.models import Preference, ReviewItem, Vote
from apps.labels.review_counts import review_differences, reviews_refresh
from apps.labels.selectors import (
    counting_votes,
    label_judge,
    labels_of,
    last_decision,
    majorities,
    preferences,
    unlabelled,
)
from apps.labels.services import label_judge_set, preferences_derive
from apps.projects.services import criteria_know
from apps.rankings import services
from apps.samples.models import Comparison
from prefloop.criteria import BadCriterion

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def named(project):
    """The project, which knows two criteria."""
    criteria_know(project=project, label_judges={"helpful": "", "honest": ""})
    return project


@pytest.fixture
def pair(named, make_comparison, make_vote):
    """People prefer the first answer by one criterion, the second by another, and none by the unnamed one."""
    made = make_comparison(named)
    make_vote(made, "first", rater="ann", criterion="helpful")
    make_vote(made, "second", rater="ann", criterion="honest")
    make_vote(made, "second", rater="ben", criterion="honest")
    preferences_derive(project=named, now=T0)
    return made


def said(criterion):
    return list(preferences(criterion).values_list("outcome", "source"))


def test_each_criterion_has_a_label_of_its_own(named, pair, make_vote):
    assert said("helpful") == [("first", "human")]
    assert said("honest") == [("second", "human")]
    assert said("") == []
    make_vote(pair, "tie", rater="ann")
    assert preferences_derive(project=named, now=T0) == 1
    assert (said(""), said("helpful")) == ([("tie", "human")], [("first", "human")])
    assert preferences_derive(project=named, now=T0) == 0


def test_who_names_no_criterion_reads_the_unnamed_one_alone(named, pair, make_vote):
    make_vote(pair, "tie", rater="zoe")
    ids = [pair.pk]
    assert majorities(ids) == {pair.pk: "tie"}
    assert majorities(ids, "honest") == {pair.pk: "second"}
    assert [vote.rater for vote in counting_votes()] == ["zoe"]
    assert counting_votes(None).count() == 4
    assert labels_of(comparison_ids=ids, judge=None)[pair.pk].outcome == "tie"
    assert labels_of(comparison_ids=ids, judge=None, criterion="helpful")[pair.pk].outcome == "first"
    assert Comparison.objects.filter(unlabelled()).exists()  # not derived yet
    assert not Comparison.objects.filter(unlabelled("honest")).exists()


def test_a_person_votes_once_by_each_criterion(named, pair, make_vote):
    with pytest.raises(IntegrityError), transaction.atomic():
        make_vote(pair, "tie", rater="ann", criterion="helpful")
    assert Vote.objects.filter(rater="ann").count() == 2
    with pytest.raises(IntegrityError), transaction.atomic():
        Preference.objects.create(comparison=pair, criterion="honest", outcome="tie", source="human", derived_at=T0)


def test_a_judge_labels_by_its_criterion(named, pair, bob, make_judge, make_verdict):
    strict = make_judge(named, "strict", order_policy="random", criterion_name="harmless")
    make_verdict(pair, "second", judge=strict, p_first=0.2)
    assert label_judge(named) is None
    label_judge_set(judge=strict, by=bob)
    named.refresh_from_db()
    assert (label_judge(named, "harmless"), label_judge(named, "honest")) == (strict, None)
    assert named.known_criteria == {"helpful": "", "honest": "", "harmless": "strict"}
    assert named.label_judge == ""
    assert said("harmless") == [("second", "judge:strict")]
    assert preferences("harmless").get().p_first == pytest.approx(0.2)
    assert labels_of(comparison_ids=[pair.pk], judge=strict)[pair.pk].source == "judge:strict"
    assert said("honest") == [("second", "human")]


@pytest.mark.slow
def test_a_decision_corrects_the_label_by_the_judge_s_criterion(named, pair, bob, make_judge, make_verdict):
    judges = {name: make_judge(named, name, order_policy="random", criterion_name=name) for name in ("helpful", "safe")}
    for judge in judges.values():
        make_verdict(pair, "first", judge=judge)
    criteria_know(project=named, label_judges={"safe": ""})
    preferences_derive(project=named, now=T0)
    for name, choice in (("helpful", "second"), ("safe", "tie")):
        services.override_create(comparison=pair, judge=judges[name], user=bob, choice=choice, now=T0)
    assert (said("helpful"), said("safe")) == ([("second", "override")], [("tie", "override")])
    assert last_decision(pair, bob) is None
    assert last_decision(pair, bob, "safe").choice == "tie"
    services.override_withdraw(comparison=pair, user=bob, now=T0, criterion="safe")
    assert (said("helpful"), said("safe")) == ([("second", "override")], [("first", "judge:safe")])
    assert services.override_undo(project=named, user=bob, now=T0).judge == judges["helpful"]
    assert said("helpful") == [("first", "human")]


def test_review_compares_a_judge_with_what_people_said_by_its_criterion(named, pair, make_judge, make_verdict):
    for name in ("honest", "helpful", ""):
        make_verdict(
            pair, "first", judge=make_judge(named, name or "plain", order_policy="random", criterion_name=name)
        )
    reviews_refresh([pair.pk])
    contested = dict(ReviewItem.objects.values_list("judge__name", "contested"))
    assert contested["honest"] is not None
    assert (contested["helpful"], contested["plain"]) == (None, None)
    assert not review_differences(named)


@pytest.mark.slow
def test_figures_compare_like_with_like_and_gold_says_nothing_of_a_named_criterion(
    named, pair, make_comparison, make_judge, make_verdict, make_vote
):
    gold = make_comparison(named, held_out=True, gold="first")
    honest = make_judge(named, "honest judge", criterion_name="honest")
    for comparison in (pair, gold):
        make_verdict(comparison, "second", judge=honest)
        make_verdict(comparison, "first", judge=make_judge(named, f"plain {comparison.pk}"))
        make_vote(comparison, "tie", rater="zoe")
    names = dict(named.judges.values_list("pk", "name"))
    plain, by_honest = (agreement_columns(named, names, criterion=name) for name in ("", "honest"))
    assert (plain.raters, by_honest.raters) == (("zoe",), ("ann", "ben"))
    assert by_honest.judges == ("honest judge",)
    assert "honest judge" not in plain.judges
    assert (set(plain.gold.tolist()), set(by_honest.gold.tolist())) == ({-1, 0}, {-1})
    pairs = pairs_of(named)
    assert len(votes_of(named, pairs, criterion="honest").item) == 2
    assert content_version(named)


def test_leaving_a_person_out_changes_every_criterion(named, pair, bob):
    effect = exclusion_effect(project=named, rater="ann", since=None)
    assert (effect.n_votes, effect.n_comparisons, effect.n_lost) == (2, 1, 1)
    exclusion_create(project=named, rater="ann", since=None, reason="", by=bob, now=T0)
    assert (said("helpful"), said("honest")) == ([], [("second", "human")])


@pytest.mark.parametrize("name", ["Helpful", "very helpful", "-", "a" * 33, "helpful=2"])
def test_a_name_that_can_t_be_written_everywhere_is_refused(named, name):
    with pytest.raises(BadCriterion, match="is no name of a criterion"):
        criteria_know(project=named, label_judges={name: ""})
    named.refresh_from_db()
    assert sorted(named.known_criteria) == ["helpful", "honest"]
