"""What people review and correct of a loop by a named criterion, and what its training sets and pages say of it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.labels.models import Judge
from apps.labels.services import preferences_derive
from apps.projects.services import criteria_know
from apps.rankings.services import override_create
from apps.samples.models import Comparison
from apps.training.changes import recipe_of
from apps.training.lineage.evidence import latest_pairs
from apps.training.lineage.selectors import gate_of
from apps.training.loops.counterfactual import corrected as without
from apps.training.loops.counterfactual import labels_without_overrides
from apps.training.loops.starting import loop_start
from apps.training.models import LoopState, Snapshot, TrainingRun
from apps.training.rounds.evaluators import can_measure
from apps.training.rounds.meetings import meeting_judge
from apps.training.sets.overrides import override_share
from prefloop.config import ConfigError, apply_settings
from prefloop.recipes.catalogue import get_recipe

pytestmark = pytest.mark.django_db


@pytest.fixture
def judged(loop_project, make_comparison, make_judge, make_verdict):
    """judged("kind", "helpful", 0.1): a judge by the criterion that says so of all four pairs; "" for the unnamed."""
    prompts = loop_project.prompts.filter(split="train").order_by("id")[:4]
    pairs = [make_comparison(loop_project, (f"good {n}", f"bad {n}"), prompt=one) for n, one in enumerate(prompts)]

    def judge(name, criterion, p_first, **more):
        made = make_judge(loop_project, name, order_policy="random", criterion_name=criterion, **more)
        for pair in pairs:
            make_verdict(pair, "first" if p_first > 0.5 else "second", judge=made, p_first=p_first)
        if criterion:
            criteria_know(project=loop_project, label_judges={criterion: name})
        else:
            loop_project.label_judge = name
            loop_project.save()
        return made

    return judge


@pytest.fixture
def begun(loop_project, drive):
    """begun(**settings): a loop of one DPO round that went as far as it can."""

    def begin(**settings):
        preferences_derive(project=loop_project, now=timezone.now())
        chosen = {"objective.batch": 2} | {key.replace("__", "."): value for key, value in settings.items()}
        loop = loop_start(project=loop_project, recipe="dpo", settings=chosen, n_rounds=1)
        drive()
        loop.refresh_from_db()
        return loop

    return begin


def set_of(loop):
    return Snapshot.objects.get(training_runs__round__loop=loop)


def learnt(loop):
    """What the loop's training set says of each pair, oldest first: its p and source."""
    return [(round(item.p_first, 6), item.source) for item in set_of(loop).items.order_by("comparison_id")]


@pytest.mark.slow
@pytest.mark.parametrize("others", [["usual"], []], ids=["beside the usual label judge", "alone"])
def test_the_gate_asks_of_the_labels_that_the_loop_trains_on(
    judged, begun, drive, bob, others, django_capture_on_commit_callbacks
):
    Judge.objects.filter(name="reward-model").delete()
    for name in others:
        judged(name, "", 0.9)
    kind = judged("kind", "helpful", 0.1)
    loop = begun(label__criterion="helpful", review__mode="all")
    round_ = loop.rounds.get(index=1)
    assert (loop.state, gate_of(loop, round_).judge) == (LoopState.WAITING, "kind")
    for pair in Comparison.objects.filter(pk__in=round_.review_comparison_ids):
        with django_capture_on_commit_callbacks(execute=True):
            override_create(comparison=pair, judge=kind, user=bob, now=timezone.now(), choice="first")
    drive()
    loop.refresh_from_db()
    assert loop.state == LoopState.DONE
    assert learnt(loop) == [(1.0, "override")] * 4


@pytest.mark.slow
def test_where_no_judge_judges_by_the_criterion_there_is_nothing_to_review(loop_project, judged, begun, make_vote):
    judged("usual", "", 0.9)
    for pair in Comparison.objects.all():
        make_vote(pair, "second", rater="ann", criterion="helpful")
    criteria_know(project=loop_project, label_judges={"helpful": ""})
    loop = begun(label__criterion="helpful", review__mode="all")
    assert loop.state == LoopState.DONE
    assert learnt(loop) == [(0.0, "human")] * 4


def test_a_weighting_can_t_be_reviewed():
    settings = {"label.criterion": "helpful=2,harmless=1", "review.mode": "all"}
    with pytest.raises(ConfigError, match=r"^review\.mode must be none where label\.criterion weighs several, not all"):
        apply_settings(get_recipe("dpo"), settings)


@pytest.mark.slow
def test_a_mean_of_a_correction_and_a_judge_is_a_correction(judged, begun, bob):
    kind, strict = judged("kind", "helpful", 0.1), judged("strict", "harmless", 0.8)
    corrected, *_ = Comparison.objects.order_by("id")
    override_create(comparison=corrected, judge=kind, user=bob, now=timezone.now(), choice="first")
    override_create(comparison=corrected, judge=strict, user=bob, now=timezone.now(), choice="first")  # as it said
    loop = begun(label__criterion="helpful=3,harmless=1", label__labels="soft")
    assert learnt(loop) == [(0.95, "override"), *[(0.275, "judge:kind")] * 3]
    snapshot = set_of(loop)
    share = override_share(snapshot)
    assert (snapshot.n_overrides, share.n_overrides, share.n_flipped) == (1, 1, 1), (
        "to confirm a judge corrects nothing"
    )
    run = TrainingRun.objects.get(snapshot=snapshot)
    assert [item.comparison_id for item in without(run)] == [corrected.pk]
    round_ = loop.rounds.get(index=1)
    bare = labels_without_overrides(loop, round_, recipe_of(loop), list(snapshot.items.order_by("comparison_id")))
    assert [round(label.p_first, 6) for label in bare] == [0.275] * 4
    again = begun(label__criterion="helpful=3,harmless=1", label__labels="sampled", label__noise=0.5)
    assert learnt(again)[0] == (0.95, "override"), "noise is for machines' labels"


@pytest.mark.slow
def test_both_judges_of_a_mean_labelled_the_training_data(loop_project, judged, begun):
    for name, criterion in (("kind", "helpful"), ("strict", "harmless")):
        judged(name, criterion, 0.8, kind="rules")
    loop = begun(label__criterion="helpful,harmless", label__labels="soft")
    assert set_of(loop).sources == {"judge:kind": 4, "judge:strict": 4}
    made = loop.rounds.get(index=1).output
    assert can_measure(Judge.objects.get(name="strict"))
    assert meeting_judge(loop_project, loop.initial, made).name == "reward-model"


@pytest.mark.slow
def test_the_loop_s_page_shows_the_labels_that_it_learnt(judged, begun, bob):
    usual, kind = judged("usual", "", 0.9), judged("kind", "helpful", 0.2)
    judged("strict", "harmless", 0.6)
    first, *_, last = Comparison.objects.order_by("id")
    override_create(comparison=first, judge=usual, user=bob, now=timezone.now(), choice="second")

    def shown(loop):
        return [(one.comparison.pk, one.outcome, one.p, one.who, one.was) for one in latest_pairs(loop, limit=1)[1]]

    helpful = begun(label__criterion="helpful")
    assert shown(helpful) == [(first.pk, "second", 0.8, "kind", "")], "what was corrected is by another criterion"
    assert shown(begun(label__criterion="helpful=3,harmless=1", label__labels="soft")) == [
        (first.pk, "second", pytest.approx(0.7), "kind", "")
    ]
    override_create(comparison=last, judge=kind, user=bob, now=timezone.now(), choice="first")
    assert shown(helpful) == [(last.pk, "first", None, "override", "second")]
    assert shown(begun(label__criterion="helpful=3,harmless=1", label__labels="soft")) == [
        (last.pk, "first", pytest.approx(0.9), "override", "second")
    ]
