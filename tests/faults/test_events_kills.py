"""Workers that die while they send events or align a judge: nothing is lost, and no answer is paid for twice."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import threading
from collections import Counter
from email import message_from_string
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.utils import timezone

from apps.accounts.models import User
from apps.events.models import Delivery, Notification
from apps.events.services import webhook_create
from apps.events.telling import tell
from apps.jobs.models import Job
from apps.judging.alignment import alignment_start
from apps.judging.services import judge_create
from apps.labels.models import Override, Vote
from apps.policies.endpoints import endpoint_create
from apps.policies.models import Spend
from apps.projects.models import Membership, Project
from apps.prompts.models import Prompt, PromptSet
from apps.samples.models import Comparison, Completion
from prefloop.judging.examples import may_align
from tests.faults.scripted import Scripted

pytestmark = [pytest.mark.faults, pytest.mark.slow]
N_EVENTS, HELD = 12, 5
CALLS_AT_ONCE = 8


class Holding:
    """What both receivers have in common: the one message that waits for an answer until `go`."""

    def __init__(self):
        self.got, self.held, self.go = [], threading.Event(), threading.Event()

    def take(self, what):
        self.got.append(what)
        if len(self.got) == HELD:
            self.held.set()
            self.go.wait(120)


@pytest.fixture
def serve():
    """serve(server): run it until the test ends; returns its port."""
    running = []

    def start(server):
        server.daemon_threads, server.handle_error = True, lambda *_: None  # the worker is killed while it waits
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server.server_address[1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def http_server(holding):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            holding.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def mail_server(holding):
    """As much of SMTP (RFC 5321) as Django's client uses."""

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line):
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self):
            self.say("220 test")
            while line := self.rfile.readline().decode().strip().upper():
                if line == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (one := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        lines.append(one)
                    holding.take(message_from_string("\n".join(lines)))
                self.say("221 bye" if line == "QUIT" else "250 ok")

    return socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def project(site):
    return Project.objects.create(slug="p", name="P")


@pytest.fixture
def alice(project):
    user = User.objects.create(username="alice", email="alice@example.org", wants_mail=True)
    Membership.objects.create(project=project, user=user, role="owner")
    return user


def kill(worker):
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def test_a_worker_killed_while_it_sends_events_loses_none_and_keeps_their_order(site, project, alice, settings, serve):
    holding = Holding()
    port = serve(http_server(holding))
    settings.ENDPOINT_ALLOW = [f"127.0.0.1:{port}"]
    webhook_create(project=project, url=f"http://127.0.0.1:{port}/", kinds=["loop.done"], by=alice)
    project.refresh_from_db()
    for n in range(N_EVENTS):
        tell("loop.done", project, loop=n, rounds=1)
    env = {"PREFLOOP_ENDPOINT_ALLOW": settings.ENDPOINT_ALLOW[0], "SECRET_KEY": settings.SECRET_KEY}
    first = site.worker(**env)
    site.wait_for(holding.held.is_set, "the event that the receiver holds")
    kill(first)
    assert Delivery.objects.filter(state="sent").count() == HELD - 1
    holding.go.set()
    site.worker(**env)
    site.wait_for(lambda: Delivery.objects.filter(state="sent").count() == N_EVENTS, "all events")
    loops = [told["data"]["loop"] for told in holding.got]
    assert loops == [*range(HELD), *range(HELD - 1, N_EVENTS)]  # only the one in flight came twice
    assert len({told["id"] for told in holding.got}) == N_EVENTS
    attempts = Delivery.objects.order_by("id").values_list("attempts", flat=True)
    assert list(attempts) == [2 if n == HELD - 1 else 1 for n in range(N_EVENTS)]


def test_a_worker_killed_while_it_mails_loses_no_mail(site, project, alice, settings, serve):
    holding = Holding()
    settings.EMAIL_HOST, settings.BASE_URL = "127.0.0.1", "http://127.0.0.1:8000"
    env = {
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(serve(mail_server(holding))),
        "EMAIL_USE_TLS": "False",
        "DEFAULT_FROM_EMAIL": "prefloop@example.org",
    }
    for n in range(N_EVENTS):
        tell("loop.done", project, loop=n, rounds=1)
    first = site.worker(**env)
    site.wait_for(holding.held.is_set, "the mail that the server holds")
    kill(first)
    assert Notification.objects.filter(mail="sent").count() == HELD - 1
    holding.go.set()
    site.worker(**env)
    site.wait_for(lambda: Notification.objects.filter(mail="sent").count() == N_EVENTS, "all mails")
    came = Counter(mail["Message-ID"] for mail in holding.got)
    assert sorted(came.values()) == [1] * (N_EVENTS - 1) + [2]  # the one in flight, under the same Message-ID
    assert {mail["Subject"] for mail in holding.got} == {
        f"[P] Loop {n} is done after 1 rounds" for n in range(N_EVENTS)
    }
    assert {mail["To"] for mail in holding.got} == {"alice@example.org"}


@pytest.fixture
def judge(project, settings):
    server = Scripted()
    address = f"127.0.0.1:{server.server_address[1]}"
    settings.ENDPOINT_ALLOW = [address]
    endpoint = endpoint_create(project=project, name="scripted", base_url=f"http://{address}/v1", model="m")
    judge = judge_create(project=project, name="scripted", kind="llm", endpoint=endpoint, criterion="kind and correct")
    yield judge, server, {"PREFLOOP_ENDPOINT_ALLOW": address}
    server.close()


def compared(project, judge, n):
    """Make n pairs: what the judge may be shown, people corrected; the others people voted on."""
    prompts = PromptSet.objects.create(project=project, name="main")
    shown = []
    for i in range(n):
        prompt = Prompt.objects.create(project=project, prompt_set=prompts, text=f"prompt {i}", external_id=f"p{i}")
        both = [
            Completion.objects.create(project=project, prompt=prompt, text=f"{text} {i}", index=k)
            for k, text in enumerate(("poor", "good"))
        ]
        pair = Comparison.objects.create(project=project, prompt=prompt, first=both[0], second=both[1])
        if may_align(judge.name, prompt.text):
            Override.objects.create(
                comparison=pair, judge=judge, rater="bob", kind="override", choice="second", judge_outcome="first"
            )
            shown.append(pair.pk)
        else:
            Vote.objects.create(comparison=pair, rater="ann", choice="second", order="01", at=timezone.now())
    return shown


def test_a_worker_killed_while_it_aligns_a_judge_pays_again_only_for_the_calls_in_flight(site, project, judge):
    judge, server, env = judge
    shown = compared(project, judge, 60)
    alignment = alignment_start(judge=judge, comparison_ids=shown[:4], criterion=judge.criterion)
    n_wanted = 4 * len(alignment.pairs)  # two versions, both orders
    server.hold_after = n_wanted // 2 + 10  # in the middle of the new version
    first = site.worker(**env)
    site.wait_for(lambda: alignment.verdicts.count() == server.hold_after, "the answers that were given")
    site.wait_for(lambda: server.n_asked == server.hold_after + CALLS_AT_ONCE, "the calls in flight")
    kill(first)
    kept = set(alignment.verdicts.values_list("id", flat=True))
    server.hold_after = None
    server.go.set()
    site.worker(**env)
    site.wait_for(lambda: Job.objects.get(kind="judging.align").state == "succeeded", "the second attempt")
    assert Job.objects.get(kind="judging.align").attempt == 2
    assert kept <= set(alignment.verdicts.values_list("id", flat=True))
    rows = Counter(alignment.verdicts.values_list("comparison_id", "is_new", "order", "state"))
    pairs = [pair["comparison"] for pair in alignment.pairs]
    assert rows == Counter(
        (key, is_new, order, "ok") for key in pairs for is_new in (False, True) for order in ("01", "10")
    )
    assert Counter(server.asked.values()) == {1: n_wanted - CALLS_AT_ONCE, 2: CALLS_AT_ONCE}
    assert sum(Spend.objects.filter(purpose="alignment").values_list("n_calls", flat=True)) == n_wanted
    alignment.refresh_from_db()
    assert alignment.figures["n_unread_after"] == 0
