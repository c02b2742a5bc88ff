"""Real workers, killed, stopped, doubled and starved: nothing is lost and nothing is done twice."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

import pytest
from celery import Celery
from django.db import connection

from apps.jobs import services
from apps.jobs.drain import drain
from apps.jobs.models import Job, JobEvent, JobGroup, JobState

pytestmark = pytest.mark.faults


def enqueue_items(*, name="a", n=10, site=None, **payload):
    if site is not None:
        payload["go"] = str(site.directory / "go")
    return services.job_enqueue(kind="fault.items", queue="cpu", payload={"name": name, "n": n, **payload})


def state_of(job):
    job.refresh_from_db()
    return job.state


def written(name="a"):
    """Item number -> which attempt wrote it."""
    prefix = f"item-{name}-"
    rows = JobGroup.objects.filter(unique_key__startswith=prefix).values_list("unique_key", "name")
    return {int(key.removeprefix(prefix)): by for key, by in rows}


def wait_until_half(site, job):
    site.wait_for(
        lambda: len(written(job.payload["name"])) == 5 and state_of(job) == JobState.RUNNING, "half of the items"
    )


def test_a_killed_worker_s_job_goes_on_where_it_was_lost(site):
    job = enqueue_items(hold_at=5, site=site)
    first = site.worker()
    wait_until_half(site, job)
    first.kill()
    first.wait()
    site.worker()
    # well within the lease of 90 s: the process is known to be gone
    site.wait_for(lambda: state_of(job) == JobState.SUCCEEDED, "the second attempt", seconds=45)
    assert job.attempt == 2
    assert written() == {n: "attempt 1" if n < 5 else "attempt 2" for n in range(10)}


def test_a_killed_child_s_job_goes_on_in_the_same_worker(site):
    job = enqueue_items(hold_at=5, site=site)
    worker = site.worker()
    wait_until_half(site, job)
    os.kill(int(job.worker.split(":")[1]), signal.SIGKILL)
    site.wait_for(lambda: state_of(job) == JobState.SUCCEEDED, "the second attempt", seconds=45)
    assert job.attempt == 2
    assert Counter(written().values()) == {"attempt 1": 5, "attempt 2": 5}
    assert worker.poll() is None


def test_a_worker_stopped_past_its_lease_writes_nothing_more(site):
    job = enqueue_items(hold_at=5, polite=False, site=site)
    short = {"PREFLOOP_JOB_LEASE_SECONDS": "3"}
    first = site.worker(**short)
    wait_until_half(site, job)
    child = int(job.worker.split(":")[1])
    os.kill(first.pid, signal.SIGSTOP)
    os.kill(child, signal.SIGSTOP)
    site.worker(**short)
    site.wait_for(lambda: state_of(job) == JobState.SUCCEEDED, "the second worker's attempt")
    before = written()
    (site.directory / "go").touch()
    os.kill(child, signal.SIGCONT)
    os.kill(first.pid, signal.SIGCONT)
    site.wait_for(lambda: "job_fenced" in site.log(first), "the first worker to notice")
    assert written() == before == {n: "attempt 1" if n < 5 else "attempt 2" for n in range(10)}
    assert (state_of(job), job.attempt) == (JobState.SUCCEEDED, 2)


def test_a_poison_job_fails_after_its_attempts_and_the_queue_moves_on(site):
    poison = services.job_enqueue(kind="fault.poison", queue="cpu", payload={}, max_attempts=2)
    good = enqueue_items()
    site.worker()
    site.wait_for(lambda: state_of(good) == JobState.SUCCEEDED, "the job behind the poison")
    site.wait_for(lambda: state_of(poison) == JobState.FAILED, "the poison's end")
    assert (poison.failure_class, poison.attempt) == ("worker_lost", 2)


def test_a_worker_that_is_told_to_leave_gives_its_job_back_without_counting_the_attempt(site):
    job = enqueue_items(hold_at=5, site=site)
    worker = site.worker()
    wait_until_half(site, job)
    worker.terminate()
    assert worker.wait(timeout=25) == 0
    assert (state_of(job), job.attempt) == (JobState.QUEUED, 0)
    (site.directory / "go").touch()
    site.worker()
    site.wait_for(lambda: state_of(job) == JobState.SUCCEEDED, "the next worker")
    assert job.attempt == 1


def test_a_worker_leaves_no_process_behind_when_it_is_killed(site):
    job = enqueue_items(hold_at=5, site=site, polite=False)
    worker = site.worker(slots=2)
    wait_until_half(site, job)
    child = int(job.worker.split(":")[1])
    worker.kill()
    worker.wait()
    site.wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the child to follow", seconds=15)


def test_cancelling_reaches_a_running_job(site):
    job = enqueue_items(hold_at=5, site=site)
    site.worker()
    wait_until_half(site, job)
    services.job_cancel(job=job, by=None)
    site.wait_for(lambda: state_of(job) == JobState.CANCELLED, "the job to leave", seconds=20)
    assert len(written()) == 5


def test_the_follow_up_of_a_group_comes_once_when_several_workers_end_its_members(site):
    specs = [services.JobSpec(kind="fault.items", queue="cpu", payload={"name": f"g{i}", "n": 1}) for i in range(24)]
    group = services.group_create(
        project=None,
        name="g",
        jobs=specs,
        follow_up_kind="fault.items",
        follow_up_payload={"name": "after", "n": 1},
    )
    site.worker(slots=2)
    site.worker(slots=2)
    site.wait_for(lambda: written("after"), "the follow-up")
    assert Job.objects.filter(follow_up_of=group).count() == 1
    assert Job.objects.count() == 25
    assert set(Job.objects.filter(group=group).values_list("state", "attempt")) == {("succeeded", 1)}


def in_threads(n, work):
    """Run `work(i)` in n threads that start together, each on a connection of its own; return what came back."""
    barrier, results = threading.Barrier(n), []

    def run(i):
        try:
            barrier.wait()
            results.append(work(i))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == n
    return results


def test_ten_claims_at_the_same_moment_give_the_job_to_one(site):
    job = enqueue_items()
    claims = in_threads(10, lambda i: services.job_claim(queues=["cpu"], worker=f"w{i}"))
    assert [claim.pk for claim in claims if claim is not None] == [job.pk]
    assert (state_of(job), job.attempt) == (JobState.STARTING, 1)


def test_members_that_end_at_the_same_moment_insert_the_follow_up_once(site):
    specs = [services.JobSpec(kind="x", queue="cpu") for _ in range(8)]
    group = services.group_create(project=None, name="g", jobs=specs, follow_up_kind="after")
    held = [services.job_claim(queues=["cpu"], worker="w") for _ in range(8)]
    for job in held:
        services.job_begin(job_id=job.pk, token=job.token)
    assert all(in_threads(8, lambda i: services.job_succeed(job_id=held[i].pk, token=held[i].token, result={})))
    assert Job.objects.filter(follow_up_of=group).count() == 1


def test_one_unique_key_enqueued_by_ten_at_once_is_one_job(site):
    jobs = in_threads(10, lambda i: services.job_enqueue(kind="x", queue="cpu", payload={}, unique_key="k").pk)
    assert len(set(jobs)) == 1
    assert Job.objects.count() == 1


def ring(url, *, times):
    with Celery(broker=url, set_as_current=False) as bells:
        for _ in range(times):
            bells.send_task("workers.run_queue", kwargs={"queue": "cpu"}, queue="cpu", ignore_result=True)


def test_the_same_bell_ten_times_is_one_run(site, redis_url):
    job = enqueue_items()
    ring(redis_url, times=10)
    site.worker(slots=2, CELERY_BROKER_URL=redis_url)
    site.worker(slots=2, CELERY_BROKER_URL=redis_url)
    site.wait_for(lambda: state_of(job) == JobState.SUCCEEDED, "the job")
    assert job.attempt == 1
    assert JobEvent.objects.filter(job=job, text="running").count() == 1


def test_a_broker_that_forgets_everything_loses_no_job(site, redis_url):
    import redis

    jobs = [enqueue_items(name=f"j{i}", n=2) for i in range(20)]
    ring(redis_url, times=20)
    redis.Redis.from_url(redis_url).flushdb()
    site.worker(slots=2, CELERY_BROKER_URL=redis_url)
    site.wait_for(lambda: {state_of(job) for job in jobs} == {"succeeded"}, "every job")
    assert {job.attempt for job in jobs} == {1}


def test_a_foreground_drain_and_a_worker_share_the_queue(site, monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    import fault_handlers  # noqa: F401 - registers the handlers in this process

    jobs = [enqueue_items(name=f"j{i}", n=2) for i in range(10)]
    site.worker()
    drain(["cpu"], worker_name="foreground")
    site.wait_for(lambda: {state_of(job) for job in jobs} == {"succeeded"}, "every job")
    assert {job.attempt for job in jobs} == {1}


def test_workers_share_no_card_and_their_children_see_their_own(site):
    first = site.start("worker", "--queue", "cpu", "--slots", "1", "--gpus", "2,3")
    job = services.job_enqueue(kind="fault.cards", queue="cpu", payload={})
    site.wait_for(lambda: state_of(job) == JobState.SUCCEEDED, "the child's word", seconds=45)
    assert job.result == {"seen": "2,3 PCI_BUS_ID"}
    second = site.start("worker", "--queue", "cpu", "--slots", "1", "--gpus", "3")
    assert second.wait(timeout=45) == 1
    assert f"card 3 is owned by the worker {first.pid} of this machine" in site.log(second)
    assert first.poll() is None
