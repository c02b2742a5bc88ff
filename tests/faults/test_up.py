"""`manage.py up`: everything starts with it and everything ends with it, however it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from apps.accounts.models import User
from apps.jobs.models import JobState, Worker
from apps.jobs.services import job_enqueue
from tests.faults.processes import offspring

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")]


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def started(site, port, *more):
    up = site.start("up", "--port", str(port), "--no-demo", *more)
    site.wait_for(lambda: "ready;" in site.log(up), "up to be ready")
    return up


def living(pids):
    def lives(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return [pid for pid in pids if lives(pid)]


def status_of(port, path):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request("GET", path)
        return link.getresponse().status
    finally:
        link.close()


def test_it_starts_page_and_workers_and_prints_a_link_for_admin(site, port):
    up = started(site, port)
    link = re.search(rf"http://127\.0\.0\.1:{port}(/\S+)", site.log(up).partition("sign in as admin")[2])
    assert link is not None
    assert status_of(port, link[1]) == 200
    assert not User.objects.get(username="admin").has_usable_password()
    site.wait_for(lambda: set(Worker.objects.values_list("queue", flat=True)) == {"gpu", "cpu"}, "both workers")
    job = job_enqueue(kind="fault.items", queue="cpu", payload={"name": "u", "n": 3})

    def state():
        job.refresh_from_db()
        return job.state

    site.wait_for(lambda: state() == JobState.SUCCEEDED, "a job")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_no_process_is_left(site, port, how):
    up = started(site, port)
    below = offspring(up.pid)
    assert len(below) >= 4  # the page's two, and each worker with its children
    os.kill(up.pid, how)
    up.wait(timeout=60)
    site.wait_for(lambda: not living(below), "every child to end", seconds=60)


def test_a_child_that_is_killed_is_started_again(site, port):
    up = started(site, port, "--no-worker")
    (master,) = [
        pid
        for pid in offspring(up.pid)
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(up.pid)
    ]
    os.kill(master, signal.SIGKILL)
    site.wait_for(lambda: "web ended (killed by SIGKILL)" in site.log(up), "up to notice")

    def answers():
        try:
            return status_of(port, "/") == 302
        except OSError:
            return False

    site.wait_for(answers, "the page to answer again")


def test_a_port_in_use_is_said_in_one_line(site, port):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        up = site.start("up", "--port", str(port))
        assert up.wait(timeout=60) == 1
    assert site.log(up).strip() == (
        f"CommandError: port {port} on 127.0.0.1 is in use; stop what listens there or choose another: "
        f"up --port {port + 1}"
    )
