"""A loop at its review gate: when it waits for people, and when it goes on."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.jobs.models import Job
from apps.labels.models import Override
from apps.rankings.rounds import comparison_ids_of_round
from apps.rankings.services import override_create, override_withdraw
from apps.samples.models import Comparison
from apps.training.lineage.evidence import latest_pairs
from apps.training.lineage.selectors import loop_rows
from apps.training.loops.steering import LoopNotActive, loop_cancel, loop_continue, loop_resume
from apps.training.models import Loop, LoopState, Round, Snapshot, SnapshotItem, Stage
from apps.training.rounds.advance import loop_advance
from apps.training.sets.overrides import override_share

pytestmark = pytest.mark.django_db


def state_of(loop):
    loop.refresh_from_db()
    return loop.state


@pytest.mark.slow
def test_the_loop_waits_at_the_gate_and_goes_on_by_itself_after_the_last_decision(
    start, drive, bob, django_capture_on_commit_callbacks
):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    assert state_of(loop) == LoopState.WAITING
    round_ = loop.rounds.get(index=1)
    ids = list(comparison_ids_of_round(loop.project, round_.pk))
    assert len(ids) == 4
    drive()
    assert state_of(loop) == LoopState.WAITING

    def decide(pk, **how):
        with django_capture_on_commit_callbacks(execute=True):
            override_create(
                comparison=Comparison.objects.get(pk=pk), judge=loop.judge, user=bob, now=timezone.now(), **how
            )

    decide(ids[0], kind="override", choice="first", reason="kinder")  # the judge said second: flipped
    decide(ids[1], kind="override", choice="second")  # as the judge said: no change of side
    decide(ids[2], kind="agree")
    drive()
    assert state_of(loop) == LoopState.WAITING
    decide(ids[3], kind="agree")
    assert Job.objects.filter(kind="rounds.advance", state="queued").count() == 1
    drive()
    assert state_of(loop) == LoopState.DONE
    snapshot = Snapshot.objects.get(training_runs__round=round_)
    assert (snapshot.n_pairs, snapshot.n_overrides) == (4, 1), "to choose what the judge said is to agree"
    assert loop_rows(loop)[1]["n_overrides"] == 1
    item = SnapshotItem.objects.get(snapshot=snapshot, comparison_id=ids[0])
    assert (item.p_first, item.source) == (1.0, "override")
    assert item.p_first_without_overrides == pytest.approx(0.11920292, rel=1e-6)
    share = override_share(snapshot)
    assert (share.n_labels, share.n_overrides, share.n_flipped) == (4, 1, 1)
    assert share.in_words == "1 of 4 labels comes from people’s overrides; changed 1 label (1 flipped)."
    pairs = latest_pairs(loop)[1]
    assert {pair.kind for pair in pairs} == {"override", "machine"}
    assert next(pair for pair in pairs if pair.comparison.pk == ids[0]).was == "second"


@pytest.mark.slow
def test_a_decision_taken_back_keeps_the_gate_closed(start, drive, bob, django_capture_on_commit_callbacks):
    loop = start(n_rounds=1, **{"review.mode": "sample", "review.budget": "2"})
    drive()
    ids = loop.rounds.get(index=1).review_comparison_ids
    assert len(ids) == 2
    rows = [Comparison.objects.get(pk=pk) for pk in ids]
    with django_capture_on_commit_callbacks(execute=True):
        override_create(comparison=rows[0], judge=loop.judge, user=bob, now=timezone.now(), kind="agree")
    with django_capture_on_commit_callbacks(execute=True):
        override_withdraw(comparison=rows[0], user=bob, now=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        override_create(comparison=rows[1], judge=loop.judge, user=bob, now=timezone.now(), kind="agree")
    drive()
    assert state_of(loop) == LoopState.WAITING


@pytest.mark.slow
def test_going_on_without_the_rest_leaves_the_gate(start, drive):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    loop_continue(loop=loop, by=None)
    drive()
    assert state_of(loop) == LoopState.DONE
    assert Override.objects.count() == 0
    with pytest.raises(LoopNotActive, match="not waiting"):
        loop_continue(loop=loop, by=None)


@pytest.mark.slow
def test_a_loop_cancelled_at_the_gate_waits_there_again_when_resumed(start, drive):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    loop_cancel(loop=loop, by=None, now=timezone.now())
    loop_resume(loop=loop, by=None)
    drive()
    assert state_of(loop) == LoopState.WAITING


@pytest.mark.slow
def test_what_was_decided_before_the_gate_is_not_asked_again(start, drive, bob):
    """All the pairs were looked over while the judge was still speaking: the gate opens at once."""
    loop = start(n_rounds=1)
    drive()
    assert state_of(loop) == LoopState.DONE
    for comparison in Comparison.objects.filter(origin=f"loop:{loop.pk}:1"):
        override_create(comparison=comparison, judge=loop.judge, user=bob, now=timezone.now(), kind="agree")
    round_ = loop.rounds.get(index=1)
    config = loop.config | {"review": {"mode": "all", "budget": 0}}
    Loop.objects.filter(pk=loop.pk).update(state=LoopState.RUNNING, config=config)
    Round.objects.filter(pk=round_.pk).update(stage=Stage.REVIEW, group=None)
    loop_advance(loop_id=loop.pk, now=timezone.now())
    round_.refresh_from_db()
    assert len(round_.review_comparison_ids) == 4
    assert round_.stage == Stage.DONE  # the rest was there already


@pytest.mark.slow
def test_the_gate_of_another_project_is_not_told(start, drive, other_project):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    assert comparison_ids_of_round(other_project, loop.rounds.get(index=1).pk) is None
