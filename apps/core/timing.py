"""How long requests take, counted for Prometheus by route: nothing is counted unless the operator has set a token.

With several web processes set PROMETHEUS_MULTIPROC_DIR, so that a scrape of one of them tells of all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

if shared := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # the library opens its files there when a metric is made
    Path(shared).mkdir(parents=True, exist_ok=True)

from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector

REGISTRY = CollectorRegistry()
REQUESTS = Histogram(
    "prefloop_http_request_seconds",
    "Time from a request's first line to its response, by the route's pattern.",
    ("method", "route", "status"),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=REGISTRY,
)


def request_timing(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Time every request. Patterns, methods that exist and classes of status keep the number of series bounded."""
    if not settings.METRICS_TOKEN:
        raise MiddlewareNotUsed

    def middleware(request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = get_response(request)
        match = request.resolver_match
        method = request.method if request.method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
        status = f"{response.status_code // 100}xx"
        REQUESTS.labels(method, match.route if match is not None else "", status).observe(time.perf_counter() - began)
        return response

    return middleware


def counted() -> Iterable[Metric]:
    """Return what was counted, by all processes of this machine where they share a directory."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        yield from MultiProcessCollector(CollectorRegistry()).collect()  # type: ignore[no-untyped-call]
    else:
        yield from REGISTRY.collect()
