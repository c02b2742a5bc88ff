"""A receiver of webhooks on this machine, which a test lets fail."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from apps.events import services
from apps.jobs.clock import database_now
from apps.jobs.drain import drain


class Receiver(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got, self.answer = [], 204
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.answer)
        if self.server.answer == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver(settings):
    made = Receiver()
    settings.ENDPOINT_ALLOW = [f"127.0.0.1:{made.server_port}"]
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def hook(project, receiver, alice):
    """hook("vote.created", …): a webhook of the project and its secret."""
    return lambda *kinds, **more: services.webhook_create(
        project=project, url=more.get("url", receiver.url), kinds=kinds, by=alice
    )


@pytest.fixture
def work():
    """work(later=timedelta()): one turn of a worker at that time, and the jobs that it starts."""

    def turn(later=None):
        now = database_now() if later is None else database_now() + later
        services.turn(now)
        drain(["cpu"], worker_name="w")

    return turn
