"""A person waits while a server is asked: few may at a time, so that the web process goes on answering others."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from apps.policies import endpoints
from prefloop.judging.errors import JudgeError


@pytest.fixture
def silent(settings):
    """The address of a server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        settings.ENDPOINT_ALLOW = [place]
        yield f"http://{place}/v1"


@pytest.mark.slow
def test_of_eight_tests_of_a_silent_server_two_wait_and_six_are_told_to_come_again(silent, monkeypatch):
    limits = endpoints.Limits(connect_seconds=3.0, read_seconds=2.0, total_seconds=2.0, max_bytes=1000, attempts=1)
    monkeypatch.setattr(endpoints, "TEST_LIMITS", limits)
    said, began, all_here = [], time.monotonic(), threading.Barrier(8)

    def ask():
        all_here.wait()
        try:
            endpoints.endpoint_test(base_url=silent, model="m")
        except endpoints.EndpointsBusy:
            said.append(("busy", time.monotonic() - began))
        except JudgeError:
            said.append(("silent", time.monotonic() - began))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(word for word, _ in said) == ["busy"] * 6 + ["silent"] * 2
    assert max(at for word, at in said if word == "busy") < min(at for word, at in said if word == "silent")
    with pytest.raises(JudgeError):  # the places are given back
        endpoints.endpoint_test(base_url=silent, model="m")
