"""An override is counted once: in the round that first learns from it, and only where it says otherwise."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.labels.models import Override
from apps.rankings.services import override_create, override_withdraw
from apps.samples.models import Comparison
from apps.training.lineage.evidence import latest_pairs
from apps.training.lineage.selectors import loop_rows, training_sets
from apps.training.loops.steering import loop_continue
from apps.training.models import TrainingRun
from apps.training.sets.overrides import overridden_runs, override_share

pytestmark = pytest.mark.django_db


@pytest.fixture
def decided(start, drive, bob):
    """A loop of two rounds. At the gate of the first: two corrections, one choice of what the judge said, one agree."""
    loop = start(n_rounds=2, **{"review.mode": "all"})
    drive()
    rows = Comparison.objects.filter(origin=f"loop:{loop.pk}:1").order_by("id")
    decisions = ({"choice": "first"}, {"choice": "tie"}, {"choice": "second"}, {"kind": "agree"})
    for row, how in zip(rows, decisions, strict=True):
        override_create(comparison=row, judge=loop.judge, user=bob, now=timezone.now(), **how)
    for _ in range(2):  # nobody decides anything in round 2
        loop_continue(loop=loop, by=bob)
        drive()
    loop.refresh_from_db()
    assert loop.state == "done"
    return loop


@pytest.mark.slow
def test_to_choose_what_the_judge_said_is_to_agree(decided):
    assert list(Override.objects.order_by("id").values_list("kind", flat=True)) == ["override"] * 2 + ["agree"] * 2


@pytest.mark.slow
def test_an_override_counts_in_the_round_that_first_learns_from_it(decided):
    rounds = loop_rows(decided)
    sets = {found.snapshot.name[-1]: found.share for found in training_sets(decided)}
    assert [row["n_overrides"] for row in rounds] == [0, 2, 0]
    assert (sets["1"].n_overrides, sets["1"].n_changed, sets["1"].n_replayed) == (2, 2, 0)
    assert (sets["2"].n_overrides, sets["2"].n_changed, sets["2"].n_replayed) == (0, 0, 2)
    assert "changed 2 labels (1 flipped, 1 to or from a tie)" in sets["1"].in_words
    assert sets["2"].in_words == "No override is new. 2 labels of earlier rounds’ overrides were replayed."
    # both rounds learnt from them: each may be trained again without
    assert overridden_runs().filter(round__loop=decided, round__index__gt=0).count() == 2


@pytest.mark.slow
def test_pages_and_cards_say_the_same_number(decided, bob, client_for):
    page = client_for(bob).get(f"/p/letters-test/loops/{decided.pk}/").content.decode()
    assert "2 of 4 labels come from people’s overrides; changed 2 labels" in page
    made = decided.rounds.get(index=1).output
    card = client_for(bob).get(f"/p/letters-test/policies/{made.pk}/card/").content.decode()
    assert "2 of 4 labels come from people’s overrides; changed 2 labels" in card


@pytest.mark.slow
def test_an_override_kept_from_before_that_says_what_the_judge_said_is_not_counted(decided):
    """As an older version, or an import, stored it."""
    run = TrainingRun.objects.get(round__loop=decided, round__index=1)
    first = Override.objects.order_by("id").first()
    Override.objects.filter(pk=first.pk).update(judge_outcome=first.choice)
    assert override_share(run.snapshot).n_overrides == 1


@pytest.mark.slow
def test_only_corrections_that_stand_come_first_on_the_loop_s_page(start, drive, bob):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    rows = Comparison.objects.filter(origin=f"loop:{loop.pk}:1").order_by("id")
    for row in rows[2:4]:
        override_create(comparison=row, judge=loop.judge, user=bob, now=timezone.now(), choice="tie")
    override_withdraw(comparison=rows[2], user=bob, now=timezone.now())
    shown = [pair.comparison.pk for pair in latest_pairs(loop, limit=2)[1]]
    assert shown == [rows[3].pk, rows[0].pk]
