"""What a loop tells to the outside: that it waits for people, that a round is finished, that it is done or failed."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.events.models import Event
from apps.events.types import CHOSEN
from apps.projects.models import Project
from apps.training.loops.steering import loop_continue
from apps.training.models import Loop
from apps.training.rounds.advance import loop_advance, loop_fail

pytestmark = pytest.mark.django_db


def told():
    return [(one.kind, one.data.get("round")) for one in Event.objects.order_by("id")]


@pytest.fixture
def heard(loop_project):
    Project.objects.filter(pk=loop_project.pk).update(listened=list(CHOSEN))


@pytest.mark.slow
def test_a_loop_tells_once_that_it_waits_and_each_round_and_its_end(heard, start, drive):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    assert told()[-1] == ("review.waiting", 1)
    before = told()
    loop_advance(loop_id=loop.pk, now=timezone.now())
    assert told() == before
    loop_continue(loop=loop, by=None)
    drive()
    assert [one for one in told() if one[0] != "review.waiting"] == [
        ("round.finished", 0),
        ("round.finished", 1),
        ("loop.done", None),
    ]
    last = Event.objects.filter(kind="round.finished").last()
    assert last.data["loop"] == loop.pk
    assert last.data["result"] == loop.rounds.get(index=1).result
    assert Event.objects.filter(kind="review.waiting").count() == 1


def test_a_failure_is_told_once(heard, start):
    loop = start(n_rounds=1)
    for _n in range(2):
        loop_fail(loop=Loop.objects.get(pk=loop.pk), failure_class="data", error="no pairs", now=timezone.now())
    assert [one.data["error"] for one in Event.objects.filter(kind="loop.failed")] == ["no pairs"]
