"""The state of an installation for Prometheus, read from the database when it is scraped: the same from every process.

No row that is done is read: what a scrape costs follows from the jobs that wait or have failed, and the endpoints.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.db.models import Count, Model
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from apps.core.bulk import last_id
from apps.core.timing import counted
from apps.jobs.clock import database_now
from apps.jobs.models import QUEUES, Job, JobState
from apps.jobs.selectors import OPEN, workers_heard
from apps.labels.models import Override, Rating, Verdict, Vote
from apps.policies.models import Endpoint
from apps.policies.spending import dollars
from apps.samples.models import Comparison, Completion
from apps.training.models import UNDER_WAY, Loop

WRITTEN: dict[str, type[Model]] = {
    "answer": Completion,
    "comparison": Comparison,
    "vote": Vote,
    "rating": Rating,
    "verdict": Verdict,
    "override": Override,
}


def exposition() -> bytes:
    """Write all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_State())
    return generate_latest(registry)


class _State(Collector):
    def collect(self) -> Iterable[Metric]:
        yield from _jobs()
        yield from _work()
        yield from _money()
        free = GaugeMetricFamily("prefloop_disk_free_bytes", "Free in the data directory.")
        free.add_metric([], shutil.disk_usage(settings.VAR_DIR).free)
        yield free
        yield from counted()


def _jobs() -> Iterator[Metric]:
    now = database_now()
    jobs = GaugeMetricFamily(
        "prefloop_jobs", "Jobs that wait, are held by a worker, or have failed.", labels=("queue", "state")
    )
    wanted = (*OPEN, JobState.FAILED)
    counts = Job.objects.filter(state__in=wanted).order_by().values_list("queue", "state").annotate(n=Count("id"))
    found = {(queue, state): n for queue, state, n in counts}
    for queue in QUEUES:
        for state in wanted:
            jobs.add_metric((queue, str(state)), found.get((queue, state), 0))
    yield jobs
    wait = GaugeMetricFamily(
        "prefloop_oldest_wait_seconds", "How long the oldest waiting job waits.", labels=("queue",)
    )
    alive = GaugeMetricFamily("prefloop_workers", "Workers that were heard in the last minute.", labels=("queue",))
    heard = workers_heard(now)
    for queue in QUEUES:
        oldest = Job.objects.filter(queue=queue, state=JobState.QUEUED).order_by("id").first()
        wait.add_metric((queue,), (now - oldest.created_at).total_seconds() if oldest else 0)
        alive.add_metric((queue,), sum(one.queue == queue for one in heard))
    yield wait
    yield alive


def _work() -> Iterator[Metric]:
    loops = GaugeMetricFamily("prefloop_loops_under_way", "Loops that run, wait for people or are being stopped.")
    loops.add_metric([], Loop.objects.filter(state__in=UNDER_WAY).count())
    yield loops
    rows = CounterMetricFamily(
        "prefloop_rows_written",
        "Rows written since the installation: the highest number given, also to rows that were removed.",
        labels=("kind",),
    )
    for kind, model in WRITTEN.items():
        rows.add_metric((kind,), last_id(model))
    yield rows


def _money() -> Iterator[Metric]:
    # no counter: what a call may cost at most is counted first, and most of it is given back when it has answered
    spent = GaugeMetricFamily(
        "prefloop_endpoint_dollars",
        "Spent at an endpoint, with what calls in flight may cost at most.",
        labels=("project", "endpoint"),
    )
    cap = GaugeMetricFamily(
        "prefloop_endpoint_cap_dollars", "What may be spent at an endpoint.", labels=("project", "endpoint")
    )
    for one in Endpoint.objects.select_related("project").order_by("id"):
        spent.add_metric((one.project.slug, one.name), float(dollars(one.committed_nanos)))
        if one.cap_cost is not None:
            cap.add_metric((one.project.slug, one.name), float(one.cap_cost))
    yield spent
    yield cap
