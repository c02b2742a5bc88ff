"""A scripted endpoint, and comparisons for its judges."""

from __future__ import annotations

import functools

import pytest

from apps.policies.endpoints import endpoint_create
from prefloop.judging.client import ChatEndpoint, Limits
from tests.workers.scripted import Scripted


@pytest.fixture
def server(settings, monkeypatch):
    made = Scripted()
    settings.ENDPOINT_ALLOW = [f"127.0.0.1:{made.server_port}"]
    quick = Limits(read_seconds=0.4, total_seconds=1.5, attempts=2, backoff_seconds=0.01, max_bytes=1_000_000)
    monkeypatch.setattr("workers.asking.ChatEndpoint", functools.partial(ChatEndpoint, limits=quick))
    yield made
    made.stopping.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def endpoint(project, server):
    return endpoint_create(
        project=project, name="there", base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m"
    )


@pytest.fixture
def pairs(project, make_comparison):
    """pairs(n): comparisons whose first answers are better to whoever prefers the word “good”."""
    return lambda n: [make_comparison(project, (f"good {k}", f"poor {k}")) for k in range(n)]
