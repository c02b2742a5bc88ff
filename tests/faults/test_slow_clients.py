"""Clients who send slowly, or much: the site goes on answering everybody else. Real sockets against a real `up`."""

from __future__ import annotations

import http.client
import socket
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")]
SOON = 5.0  # seconds, on a machine that does much else; it takes milliseconds


@pytest.fixture
def port(site):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    up = site.start("up", "--port", str(number), "--no-demo", "--no-worker")
    site.wait_for(lambda: "ready;" in site.log(up), "up to be ready")
    return number


@pytest.fixture
def connect(port):
    """connect(): an open connection to the site; all are closed at the end."""
    links = []

    def make():
        links.append(socket.create_connection(("127.0.0.1", port), timeout=10))
        return links[-1]

    yield make
    for link in links:
        link.close()


def seconds_of_health(port):
    began = time.monotonic()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        link.request("GET", "/healthz")
        assert link.getresponse().status == 200
    finally:
        link.close()
    return time.monotonic() - began


@pytest.mark.parametrize("n", [8, 80])
def test_half_sent_headers_leave_the_site_answering(port, connect, n):
    for _ in range(n):
        connect().sendall(b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
    assert max(seconds_of_health(port) for _ in range(3)) < SOON


def test_slow_large_bodies_leave_the_site_answering(port, connect):
    head = (
        b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 400000000\r\n\r\n--x\r\n"
    )
    for _ in range(8):
        connect().sendall(head + b"y" * 1000)
    assert max(seconds_of_health(port) for _ in range(3)) < SOON


def test_a_large_body_is_refused_before_it_is_sent(port, connect):
    link = connect()
    link.sendall(
        b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 400000000\r\n\r\n"
    )
    assert link.recv(100).startswith(b"HTTP/1.1 413")
