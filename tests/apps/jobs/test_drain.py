"""The state machine, the claim and the envelope, in one process."""

from __future__ import annotations

import datetime as dt
import time
import uuid

import pytest
from django.db.models import F
from django.utils import timezone

from apps.jobs import registry, services
from apps.jobs.drain import drain, drain_until
from apps.jobs.identity import host_name
from apps.jobs.machine import EDGES, EdgeNotAllowed, transition
from apps.jobs.models import TERMINAL, Job, JobEvent, JobGroup, JobState
from apps.jobs.registry import JobCancelled, JobContext, JobFailure, JobInterrupted
from prefloop.types import BadData, PrefloopError

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]


@pytest.fixture
def handle(monkeypatch):
    """Register a function for a kind, for one test."""
    # modules register once: were they first imported while the copy stands, their handlers would go with it
    registry.load_handlers(["gpu", "cpu"])
    monkeypatch.setattr(registry, "_handlers", dict(registry._handlers))

    def register(kind, run):
        registry.handler(kind, queue="cpu")(run)

    return register


def enqueue(kind="t.echo", **more):
    return services.job_enqueue(kind=kind, queue="cpu", payload=more.pop("payload", {}), **more)


def test_jobs_run_oldest_first_and_keep_their_results(handle):
    order = []

    def run(ctx: JobContext):
        order.append(ctx.payload["n"])
        return {"double": 2 * ctx.payload["n"]}

    handle("t.echo", run)
    jobs = [enqueue(payload={"n": n}) for n in (3, 1, 2)]
    assert drain(["cpu"], worker_name="w") == 3
    assert order == [3, 1, 2]
    assert [Job.objects.get(pk=job.pk).result for job in jobs] == [{"double": 6}, {"double": 2}, {"double": 4}]
    assert {Job.objects.get(pk=job.pk).state for job in jobs} == {JobState.SUCCEEDED}


def test_a_job_in_a_callers_transaction_is_not_taken_for_one_that_was_taken_away(handle, settings):
    settings.JOB_LEASE_SECONDS = 0.3  # a heartbeat every 50 ms, on a connection that sees nothing of this test
    handle("t.long", lambda ctx: time.sleep(0.4) or ctx.check() or {"done": 1})
    job = enqueue("t.long")
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"done": 1})


def test_a_foreground_run_of_one_group_leaves_older_jobs_waiting(handle):
    handle("t.echo", lambda ctx: None)
    older = enqueue()
    group = services.group_create(project=None, name="g", jobs=[services.JobSpec("t.echo", "cpu")])
    mine = group.jobs.get()
    drain_until(
        lambda: Job.objects.get(pk=mine.pk).state in TERMINAL, queues=["cpu"], worker_name="w", group_id=group.pk
    )
    assert Job.objects.get(pk=mine.pk).state == JobState.SUCCEEDED
    assert Job.objects.get(pk=older.pk).state == JobState.QUEUED


def test_data_that_can_not_be_used_fails_as_data(handle):
    def run(ctx: JobContext):
        raise BadData("prompt 'q9': the chat template refuses this conversation")

    handle("t.echo", run)
    job = enqueue()
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.failure_class, job.error) == ("data", "prompt 'q9': the chat template refuses this conversation")


def test_the_log_of_a_job_tells_every_state_it_went_through(handle):
    handle("t.echo", lambda ctx: ctx.log("half way"))
    job = enqueue()
    drain(["cpu"], worker_name="w")
    told = list(JobEvent.objects.filter(job=job).order_by("id").values_list("kind", "text"))
    assert told == [
        ("state", "queued"),
        ("state", "claimed by w"),
        ("state", "running"),
        ("log", "half way"),
        ("state", "succeeded"),
    ]


def test_an_edge_that_the_table_lacks_is_refused():
    job = enqueue()
    with pytest.raises(EdgeNotAllowed):
        transition(job_id=job.pk, to=JobState.SUCCEEDED, from_states=[JobState.QUEUED], text="")


def test_no_edge_leaves_a_terminal_state():
    assert all(EDGES[state] == frozenset() for state in TERMINAL)


def test_a_key_that_exists_returns_its_job_and_inserts_none():
    first = enqueue(unique_key="k")
    assert enqueue(unique_key="k").pk == first.pk
    assert Job.objects.count() == 1


def test_a_job_is_not_claimed_before_its_time_nor_by_another_queue():
    enqueue(run_after=timezone.now() + dt.timedelta(hours=1))
    assert services.job_claim(queues=["cpu"], worker="w") is None
    services.job_enqueue(kind="t.echo", queue="gpu", payload={})
    assert services.job_claim(queues=["cpu"], worker="w") is None
    assert services.job_claim(queues=["gpu"], worker="w") is not None


@pytest.mark.parametrize(
    ("error", "failure_class", "text"),
    [
        (PrefloopError("the file has no line"), "user_config", "the file has no line"),
        (JobFailure("judge_refused", "401 from the judge"), "judge_refused", "401 from the judge"),
        (MemoryError(), "out_of_memory", "out of memory"),
        (OSError(28, "No space left on device"), "out_of_disk", "[Errno 28] No space left on device"),
    ],
)
def test_a_failure_says_whose_it_was(handle, error, failure_class, text):
    def run(ctx):
        raise error

    handle("t.fail", run)
    job = enqueue("t.fail")
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, job.failure_class, job.error, job.attempt) == ("failed", failure_class, text, 1)


def test_a_failure_that_may_pass_is_tried_again_later_until_the_attempts_are_used(handle):
    def run(ctx):
        raise JobFailure("judge_unreachable", "no answer", retry=True)

    handle("t.fail", run)
    job = enqueue("t.fail", max_attempts=2)
    before = timezone.now()
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
    assert 1.5 < (job.run_after - before).total_seconds() < 3  # 2 ** attempt seconds
    Job.objects.update(run_after=None)
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, job.failure_class, job.attempt) == ("failed", "judge_unreachable", 2)


def test_a_kind_without_a_handler_fails_and_the_queue_moves_on(handle):
    handle("t.echo", lambda ctx: None)
    lost, good = enqueue("t.nobody"), enqueue()
    drain(["cpu"], worker_name="w")
    lost.refresh_from_db()
    good.refresh_from_db()
    assert (lost.state, lost.failure_class) == ("failed", "internal")
    assert "t.nobody" in lost.error
    assert good.state == JobState.SUCCEEDED


def test_an_interrupted_attempt_does_not_count(handle):
    def run(ctx):
        raise JobInterrupted

    handle("t.stop", run)
    job = enqueue("t.stop")
    drain(["cpu"], worker_name="w", until=lambda: JobEvent.objects.filter(text="running").exists())
    job.refresh_from_db()
    assert (job.state, job.attempt, job.token) == ("queued", 0, None)


def test_a_queued_job_is_cancelled_at_once(handle):
    job = services.job_cancel(job=enqueue(), by=None)
    assert job.state == JobState.CANCELLED


def test_a_running_job_hears_of_its_cancelling_and_leaves(handle):
    def run(ctx):
        services.job_cancel(job=Job.objects.get(pk=ctx.job_id), by=None)
        assert Job.objects.get(pk=ctx.job_id).state == JobState.CANCELLING
        ctx.check()
        raise AssertionError("check must raise")

    handle("t.long", run)
    job = enqueue("t.long")
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_a_job_that_was_done_before_it_heard_of_the_cancelling_keeps_its_result(handle):
    def run(ctx):
        services.job_cancel(job=Job.objects.get(pk=ctx.job_id), by=None)
        return {"done": 1}

    handle("t.long", run)
    job = enqueue("t.long")
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, job.result) == ("succeeded", {"done": 1})


def test_cancelling_a_job_of_a_dead_worker_does_not_wait():
    job = enqueue()
    services.job_claim(queues=["cpu"], worker=f"cpu@{host_name()}:999999:1")
    assert services.job_cancel(job=job, by=None).state == JobState.CANCELLED


def test_a_terminal_job_stays_as_it_is_whatever_one_asks(handle):
    handle("t.echo", lambda ctx: {"n": 1})
    job = enqueue()
    drain(["cpu"], worker_name="w")
    assert services.job_cancel(job=job, by=None).state == JobState.SUCCEEDED
    with pytest.raises(services.JobNotRetryable):
        services.job_retry(job=job, by=None)


def test_a_retry_is_a_new_job_and_asking_twice_makes_one():
    job = services.job_cancel(job=enqueue(payload={"n": 1}), by=None)
    retry = services.job_retry(job=job, by=None)
    assert (retry.parent_id, retry.state, retry.payload) == (job.pk, "queued", {"n": 1})
    assert services.job_retry(job=job, by=None).pk == retry.pk
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_a_lease_that_ran_out_gives_the_job_back_and_fences_the_holder():
    job = enqueue()
    held = services.job_claim(queues=["cpu"], worker="elsewhere")
    services.job_begin(job_id=job.pk, token=held.token)
    assert services.reconcile() == services.Reconciled()
    Job.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    assert services.reconcile().n_requeued == 1
    assert services.job_heartbeat(job_id=job.pk, token=held.token) == (False, False)
    assert not services.job_succeed(job_id=job.pk, token=held.token, result={})
    assert not services.job_progress(job_id=job.pk, token=held.token, step=1, n_steps=2, message="")
    job.refresh_from_db()
    assert (job.state, job.step, job.result) == ("queued", 0, {})


def test_a_heartbeat_between_the_look_and_the_taking_saves_the_holder():
    job = enqueue()
    held = services.job_claim(queues=["cpu"], worker="elsewhere")
    Job.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    stale = Job.objects.get(pk=job.pk)
    assert services.job_heartbeat(job_id=job.pk, token=held.token) == (True, False)
    assert services.release_lost(job=stale, now=timezone.now(), why="its lease ran out") is None


def test_the_job_of_a_dead_process_of_this_host_does_not_wait_for_its_lease():
    job = enqueue()
    services.job_claim(queues=["cpu"], worker=f"cpu@{host_name()}:999999:1")
    assert services.reconcile() == services.Reconciled()
    assert services.reconcile(host=host_name()).n_requeued == 1
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("queued", 1)


def test_the_last_lost_attempt_fails_as_worker_lost():
    job = enqueue(max_attempts=1)
    services.job_claim(queues=["cpu"], worker="w")
    Job.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    assert services.reconcile().n_failed == 1
    job.refresh_from_db()
    assert (job.state, job.failure_class) == ("failed", "worker_lost")


@pytest.mark.parametrize(
    ("state", "column", "end"),
    [("starting", "started_at", "queued"), ("cancelling", "cancel_requested_at", "cancelled")],
)
def test_a_passing_state_has_a_deadline_even_while_its_worker_beats(state, column, end):
    job = enqueue()
    services.job_claim(queues=["cpu"], worker="w")
    for age, expected in ((170, state), (190, end)):
        Job.objects.update(state=state, **{column: timezone.now() - dt.timedelta(seconds=age)})
        services.reconcile()
        job.refresh_from_db()
        assert job.state == expected


def test_a_fenced_block_writes_nothing_once_the_job_is_taken(handle):
    def run(ctx):
        with ctx.fenced():
            JobGroup.objects.create(name="before")
        Job.objects.update(token=uuid.uuid4())
        with ctx.fenced():
            JobGroup.objects.create(name="after")

    handle("t.fenced", run)
    job = enqueue("t.fenced")
    drain(["cpu"], worker_name="w")
    assert list(JobGroup.objects.values_list("name", flat=True)) == ["before"]
    job.refresh_from_db()
    assert job.state == JobState.RUNNING  # it is the other holder's to end


def test_a_broad_except_in_a_handler_cannot_swallow_the_cancelling(handle):
    def run(ctx):
        try:
            raise JobCancelled
        except Exception:  # noqa: BLE001 - the point of the test
            return {"swallowed": True}

    handle("t.broad", run)
    job = enqueue("t.broad")
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, job.result) == ("cancelled", {})


def group_of(n, **more):
    specs = [services.JobSpec(kind="t.item", queue="cpu", payload={"n": i}) for i in range(n)]
    return services.group_create(
        project=None, name="g", jobs=specs, follow_up_kind="t.after", follow_up_payload={"round": 7}, **more
    )


def test_the_follow_up_comes_once_after_the_last_member_with_the_counts(handle):
    seen = []

    def item(ctx):
        if ctx.payload["n"] == 1:
            raise PrefloopError("bad item")

    handle("t.item", item)
    handle("t.after", lambda ctx: seen.append(ctx.payload))
    group = group_of(3)
    drain(["cpu"], worker_name="w")
    assert seen == [{"round": 7, "group_id": group.pk, "n_failed": 1, "n_cancelled": 0}]
    group.refresh_from_db()
    assert (group.open_count, group.failed_count) == (0, 1)
    assert Job.objects.filter(kind="t.after").count() == 1


def test_an_empty_group_fires_its_follow_up_at_once():
    group = group_of(0)
    assert Job.objects.get(follow_up_of=group).state == JobState.QUEUED


def test_a_group_key_again_returns_the_group_and_inserts_nothing():
    assert group_of(2, unique_key="round-1").pk == group_of(2, unique_key="round-1").pk
    assert Job.objects.count() == 2


def test_cancelling_every_member_ends_the_group_and_the_follow_up_decides():
    group = group_of(2)
    for job in group.jobs.all():
        services.job_cancel(job=job, by=None)
    assert Job.objects.get(follow_up_of=group).payload["n_cancelled"] == 2


def test_a_retry_of_a_member_joins_its_group_while_that_is_open():
    group = group_of(2)
    job = services.job_cancel(job=group.jobs.order_by("id").first(), by=None)
    retry = services.job_retry(job=job, by=None)
    group.refresh_from_db()
    assert (retry.group_id, group.open_count, group.cancelled_count) == (group.pk, 2, 0)


def test_a_member_whose_key_succeeded_is_left_out_and_a_failed_one_is_tried_again(handle):
    def run(ctx):
        if ctx.payload.get("bad"):
            raise PrefloopError("bad")

    handle("t.item", run)
    good = enqueue("t.item", unique_key="good")
    bad = enqueue("t.item", unique_key="bad", payload={"bad": True})
    drain(["cpu"], worker_name="w")
    specs = [services.JobSpec(kind="t.item", queue="cpu", unique_key=key) for key in ("good", "bad", "new")]
    group = services.group_create(project=None, name="g", jobs=specs)
    assert list(group.jobs.order_by("id").values_list("parent_id", "unique_key")) == [
        (bad.pk, f"bad~{bad.pk}"),
        (None, "new"),
    ]
    assert group.open_count == 2
    assert good.pk not in group.jobs.values_list("pk", flat=True)
    with pytest.raises(services.JobKeyTaken):
        services.group_create(project=None, name="g2", jobs=specs)


def test_attempts_never_exceed_their_cap_even_by_hand():
    from django.db import IntegrityError, transaction

    job = enqueue(max_attempts=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(attempt=F("max_attempts") + 1)
