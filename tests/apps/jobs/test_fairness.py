"""Whose job is next: projects take turns, a person goes before work, and a project may have a limit."""

from __future__ import annotations

import pytest
from django.db import connection

from apps.jobs import services
from apps.jobs.clock import database_now
from apps.jobs.fairness import next_jobs, waiting
from apps.jobs.models import Job, JobState, Turn
from apps.projects.models import Project

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]


@pytest.fixture
def three(make_project):
    return [make_project(slug) for slug in ("one", "two", "three")]


def enqueue(project: Project | None, **more) -> Job:
    return services.job_enqueue(kind="t.work", queue="cpu", payload={}, project=project, **more)


def claimed(n: int, *, end: bool = True) -> list[str]:
    """Claim n jobs, one after the other, and say whose they were."""
    whose = []
    for _ in range(n):
        job = services.job_claim(queues=["cpu"], worker="w")
        assert job is not None
        assert job.token is not None
        whose.append(job.project.slug if job.project else "-")
        if end:
            services.job_begin(job_id=job.pk, token=job.token)
            services.job_succeed(job_id=job.pk, token=job.token, result={})
    return whose


def test_projects_take_turns_however_many_jobs_one_of_them_has_queued(three):
    one, two, three_ = three
    for project, n in ((one, 5), (two, 2), (three_, 1)):
        for _ in range(n):
            enqueue(project)
    assert claimed(8) == ["one", "two", "three", "one", "two", "one", "one", "one"]
    assert services.job_claim(queues=["cpu"], worker="w") is None


def test_the_project_with_the_fewest_running_jobs_is_served_first(three):
    one, two, _ = three
    for _ in range(3):
        enqueue(one)
    assert claimed(2, end=False) == ["one", "one"]
    enqueue(two)
    enqueue(two)
    assert claimed(3, end=False) == ["two", "two", "one"]


def test_what_a_person_waits_for_goes_before_work_and_so_does_what_other_work_waits_for(three):
    one, two, three_ = three
    work = enqueue(one)
    soon = enqueue(two, turn=Turn.SOON)
    person = enqueue(three_, turn=Turn.PERSON)
    later = enqueue(one, turn=Turn.PERSON)
    order = [services.job_claim(queues=["cpu"], worker="w") for _ in range(4)]
    assert [job and job.pk for job in order] == [person.pk, later.pk, soon.pk, work.pk]


def test_jobs_of_no_project_take_their_turn(three):
    enqueue(three[0])
    enqueue(three[0])
    enqueue(None)
    enqueue(None)
    assert sorted(claimed(2)) == ["-", "one"]
    assert sorted(claimed(2)) == ["-", "one"]


def test_a_project_may_run_so_many_at_once_but_a_person_does_not_wait_for_that(three, settings):
    settings.PROJECT_QUOTAS = {"running": 1}
    one, two, _ = three
    for project in (one, one, two):
        enqueue(project)
    assert claimed(2, end=False) == ["one", "two"]
    assert services.job_claim(queues=["cpu"], worker="w") is None
    enqueue(one, turn=Turn.PERSON)
    assert claimed(1, end=False) == ["one"]
    Job.objects.filter(project=one, state=JobState.STARTING).update(state=JobState.SUCCEEDED)
    assert claimed(1) == ["one"]


def test_a_retry_and_a_follow_up_keep_their_turn(three):
    job = enqueue(three[0], turn=Turn.PERSON)
    services.job_cancel(job=job, by=None)
    assert services.job_retry(job=job, by=None).turn == Turn.PERSON
    spec = services.JobSpec("t.work", "cpu", turn=Turn.PERSON)
    group = services.group_create(project=three[0], name="g", jobs=[spec], follow_up_kind="t.next")
    assert group.jobs.get().turn == Turn.PERSON
    services.job_cancel(job=group.jobs.get(), by=None)
    assert group.follow_up.turn == Turn.SOON


def test_a_claim_steps_into_an_index_and_reads_no_other_waiting_job(three, django_assert_max_num_queries):
    project = three[0]
    Job.objects.bulk_create(Job(kind="t.work", queue="cpu", project=project) for _ in range(50))
    now = database_now()
    with django_assert_max_num_queries(4):
        assert len(next_jobs(queues=["cpu"], now=now)) == 1
    if connection.vendor == "sqlite":
        plan = waiting(queues=["cpu"], now=now).filter(project=project).order_by("turn", "id")[:1].explain()
        assert "job_next" in plan
        assert "TEMP B-TREE" not in plan, plan
