"""The label judge is told when it is surely below the bound: once, and again after it recovered."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.events.models import Event
from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.judging.watch import EVERY, judge_watch, watches_start

pytestmark = pytest.mark.django_db


@pytest.fixture
def judged(project, at_once, make_judge, make_comparison, make_verdict):
    """A judge that is right on 10 of 30 gold pairs."""
    judge = make_judge(project, "judge")
    with at_once(project):
        for n in range(30):
            pair = make_comparison(project, held_out=True, gold="first")
            make_verdict(pair, "first" if n < 10 else "second", judge=judge)
    project.label_judge, project.judge_bound, project.listened = "judge", 0.8, ["judge.below_bound"]
    project.save()
    return judge


@pytest.mark.slow
def test_it_is_told_once_until_it_recovers(project, judged):
    now = timezone.now()
    assert judge_watch(project=project, now=now)
    assert judge_watch(project=project, now=now)
    told = Event.objects.get().data
    assert (told["name"], told["bound"], told["n"]) == ("judge", 0.8, 30)
    assert told["agreement"] == pytest.approx(1 / 3)
    assert told["ci95"][1] < 0.8
    project.judge_bound = 0.2
    assert not judge_watch(project=project, now=now)
    project.judge_bound = 0.8
    judge_watch(project=project, now=now)
    assert Event.objects.count() == 2


@pytest.mark.slow
def test_an_interval_that_reaches_the_bound_is_not_below_it(project, judged):
    project.judge_bound = 0.4
    assert not judge_watch(project=project, now=timezone.now())
    assert not Event.objects.exists()


@pytest.mark.slow
def test_workers_look_every_few_minutes_and_only_where_there_is_a_bound(project, other_project, judged):
    now = timezone.now()
    watches_start(now)
    watches_start(now)
    drain(["cpu"], worker_name="w")
    assert Job.objects.filter(kind="judging.watch").count() == 1
    assert Event.objects.count() == 1
    watches_start(now + EVERY - timedelta(seconds=1))
    assert Job.objects.count() == 1
    watches_start(now + EVERY)
    assert Job.objects.count() == 2


def test_the_bound_is_set_in_percent(project, alice, client_for):
    sent = {"votes_per_comparison": 1, "judge_bound": "72.5"}
    client_for(alice).post("/p/letters-test/settings/labels/", sent)
    project.refresh_from_db()
    assert project.judge_bound == pytest.approx(0.725)
    assert "72.5" in client_for(alice).get("/p/letters-test/settings/?tab=labels").content.decode()
    client_for(alice).post("/p/letters-test/settings/labels/", {"votes_per_comparison": 1, "judge_bound": ""})
    project.refresh_from_db()
    assert project.judge_bound is None
