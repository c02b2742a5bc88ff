"""What Prometheus is told, whom it is told, and that the Grafana board asks for nothing else."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.core.timing import request_timing
from apps.dashboard.metrics import exposition
from apps.jobs.models import Job, JobState, Worker
from apps.labels.models import Vote
from apps.policies.models import Endpoint

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[3]
TOKEN = "a-token-of-the-operator"


@pytest.fixture
def scrape(settings, client_for):
    """scrape(): every sample, by its name and labels."""
    settings.METRICS_TOKEN = TOKEN

    def read():
        answer = client_for(None).get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
        assert answer["Cache-Control"] == "no-store"
        families = text_string_to_metric_families(answer.content.decode())
        return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}

    return read


def test_without_the_token_nothing_is_told(settings, client_for, alice):
    assert client_for(alice).get("/metrics").status_code == 404  # no token is set
    settings.METRICS_TOKEN = TOKEN
    for given in (
        {},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
    ):
        answer = client_for(alice).get("/metrics", headers=given)
        assert answer.status_code == 401
        assert b"prefloop_" not in answer.content
    assert client_for(alice).post("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code in {403, 405}


def test_jobs_workers_labels_and_money_are_told(scrape, project, make_comparison, make_vote):
    before = scrape()
    assert before["prefloop_jobs", "gpu", "queued"] == 0
    assert before["prefloop_oldest_wait_seconds", "gpu"] == 0
    now = timezone.now()
    for state in (JobState.QUEUED, JobState.QUEUED, JobState.FAILED, JobState.SUCCEEDED):
        Job.objects.create(kind="t", queue="gpu", payload={}, state=state, project=project)
    Job.objects.filter(state=JobState.QUEUED).update(created_at=now - dt.timedelta(seconds=90))
    for name, silent in (("fresh", 5), ("stuck", 600)):
        heard = now - dt.timedelta(seconds=silent)
        Worker.objects.create(name=name, queue="gpu", pid=1, host="h", started_at=now, last_loop_at=heard)
    vote = make_vote(make_comparison(project, ("kind", "rude")), "first")
    Endpoint.objects.create(
        project=project, name="big", base_url="http://x", model="m", committed_nanos=2_500_000_000, cap_cost=Decimal(10)
    )
    told = scrape()
    assert told["prefloop_jobs", "gpu", "queued"] == 2
    assert told["prefloop_jobs", "failed", "gpu"] == 1
    assert told["prefloop_jobs", "cpu", "queued"] == 0
    assert 90 <= told["prefloop_oldest_wait_seconds", "gpu"] < 150
    assert told["prefloop_workers", "gpu"] == 1
    assert told["prefloop_rows_written_total", "vote"] == vote.pk
    assert told["prefloop_endpoint_dollars", "big", project.slug] == pytest.approx(2.5)
    assert told["prefloop_endpoint_cap_dollars", "big", project.slug] == 10
    assert told["prefloop_disk_free_bytes",] > 0


def test_what_can_fall_is_no_counter(scrape, project, make_comparison, make_vote):
    """Prometheus takes a counter that falls for one that began again at 0, and its rate jumps by all there is."""
    votes = [make_vote(make_comparison(project, ("kind", text)), "first") for text in ("rude", "odd")]
    Endpoint.objects.create(project=project, name="big", base_url="http://x", model="m")
    before = scrape()["prefloop_rows_written_total", "vote"]
    Vote.objects.filter(pk=votes[-1].pk).delete()  # an import that is taken back does so
    assert scrape()["prefloop_rows_written_total", "vote"] == before
    types = {family.name: family.type for family in text_string_to_metric_families(exposition().decode())}
    assert types["prefloop_endpoint_dollars"] == "gauge"  # falls when a call took less than was reserved for it
    told = (ROOT / "docker/grafana/prefloop.json").read_text("utf-8") + (ROOT / "docs/operating.md").read_text("utf-8")
    grows = re.findall(r"(?:rate|increase)\((prefloop_\w+?)(?:_total|_bucket|_count)?[{\[]", told)
    assert grows
    assert [name for name in grows if types.get(name) == "gauge"] == []


def test_a_scrape_reads_no_more_with_more_rows(scrape, project, django_assert_max_num_queries):
    for number in range(30):
        Job.objects.create(kind="t", queue="cpu", payload={}, state=JobState.QUEUED, project=project)
        Endpoint.objects.create(project=project, name=f"e{number}", base_url="http://x", model="m")
    with django_assert_max_num_queries(13):
        scrape()


def test_requests_are_timed_by_route_and_not_by_address(settings, rf, scrape):
    settings.METRICS_TOKEN = ""
    with pytest.raises(MiddlewareNotUsed):
        request_timing(HttpResponse)
    settings.METRICS_TOKEN = TOKEN
    timed = request_timing(lambda request: HttpResponse(status=503))

    class Match:
        route = "p/<slug:slug>/timed/"

    for number in range(3):
        request = rf.get(f"/p/project-{number}/timed/")
        request.resolver_match = Match
        timed(request)
    strange = rf.generic("MOVE-IT", "/nowhere/")
    strange.resolver_match = None
    timed(strange)
    told = scrape()
    assert told["prefloop_http_request_seconds_count", "5xx", "GET", Match.route] == 3
    assert told["prefloop_http_request_seconds_count", "", "5xx", "other"] == 1
    assert not [key for key in told if any("project-" in part for part in key)]


def test_every_number_of_the_board_is_told(scrape, project):
    Endpoint.objects.create(project=project, name="e", base_url="http://x", model="m", cap_cost=Decimal(1))
    request_timing(lambda request: HttpResponse())
    told = {key[0] for key in scrape()} | {
        "prefloop_http_request_seconds_bucket",
        "prefloop_http_request_seconds_count",
    }
    board = json.loads((ROOT / "docker/grafana/prefloop.json").read_text("utf-8"))
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"prefloop_\w+", target["expr"])
    }
    assert asked
    assert asked <= told
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
