"""The life of a server process: awaited, explained when it fails, and never left behind.

Its interpreter is stood in for by a small script that starts, answers and clings to life as a server does; test_vllm.py
runs the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefloop.checkpoints import UnsafeCheckpoint
from prefloop.policy.loading import load_policy, save_model
from prefloop.policy.vllm_client import ServedModel, same_shape
from prefloop.policy.vllm_server import VllmFailed, VllmMissing, start_vllm
from tests.prefloop.tiny import save_tiny_policy

ROOT = Path(__file__).resolve().parents[3]

# Called as a Python interpreter is: -m vllm.entrypoints… --model DIR --served-model-name NAME … --port PORT
SERVER = """\
#!{python}
import json, os, signal, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
how = os.environ.get("HOW", "")
args = dict(zip(sys.argv[3::2], sys.argv[4::2]))
print("INFO starting", sys.argv[2], flush=True)
if how == "broken":
    print("(Worker pid=1) ERROR 11-26 [executor.py:1] RuntimeError: head_dim=16 is not supported", flush=True)
    print("(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
    raise SystemExit(1)
if how == "clinging":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # which nobody tells to end
open(os.environ["PIDS"], "w").write(f"{{os.getpid()}} {{child.pid}}")
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Bearer " + os.environ["VLLM_API_KEY"]
        name = "somebody-else" if how == "other" else args["--served-model-name"]
        status = 503 if how == "loading" else 200 if known or self.path == "/health" else 401
        said = json.dumps({{"data": [{{"id": name}}]}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(args["--port"])), Answer).serve_forever()
"""


@pytest.fixture
def place(tmp_path):
    """A checkpoint, an interpreter with `vllm`, and how to start it."""
    save_tiny_policy(tmp_path / "policy")
    python = tmp_path / "python"
    python.write_text(SERVER.format(python=sys.executable))
    python.chmod(0o755)

    def start(how="", **settings):
        env = {**os.environ, "HOW": how, "PIDS": str(tmp_path / "pids"), "SECRET": "kept"}
        settings = {"python": str(python), "log_path": tmp_path / "log" / "vllm.log", "env": env} | settings
        return start_vllm(tmp_path / "policy", **settings)

    start.directory = tmp_path
    return start


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pids(place):
    return [int(pid) for pid in (place.directory / "pids").read_text().split()]


def gone(numbers, seconds=10):
    end = time.monotonic() + seconds
    while any(map(alive, numbers)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, numbers))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "clinging"])
def test_a_server_is_ready_when_it_is_returned_and_gone_with_its_children_when_stopped(how, place):
    with place(how) as server:
        assert server.alive()
        assert server.host_port.startswith("127.0.0.1:")
        with server.endpoint() as endpoint:
            assert endpoint.models() == [server.model]
        mine = [server.pid, *pids(place)]
        assert all(map(alive, mine))
    assert gone(mine)
    assert not server.alive()
    server.stop()  # again is harmless


@pytest.mark.slow
def test_two_servers_have_names_ports_and_keys_of_their_own(place):
    with place() as first, place() as second:
        assert first.model != second.model
        assert first.host_port != second.host_port
        with first.endpoint() as endpoint:
            assert endpoint.models() == [first.model]


@pytest.mark.slow
def test_a_server_that_does_not_start_is_explained_by_its_own_error(place):
    with pytest.raises(VllmFailed, match=r"RuntimeError: head_dim=16 is not supported") as failed:
        place("broken")
    assert "vllm.log" in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.slow
def test_a_server_that_never_gets_ready_is_given_up_and_ended(place):
    with pytest.raises(VllmFailed, match=r"was not ready in time; .*INFO starting vllm\.entrypoints"):
        place("loading", start_seconds=3.0)
    assert gone(pids(place))


@pytest.mark.slow
def test_another_server_on_the_port_is_not_taken_for_ours(place):
    with pytest.raises(VllmFailed, match="another server answers on 127"):
        place("other")
    assert gone(pids(place))


@pytest.mark.slow
def test_a_stop_while_waiting_ends_the_server(place):
    class Stop(BaseException):
        pass

    def check():
        if (place.directory / "pids").exists() and len((place.directory / "pids").read_text().split()) == 2:
            raise Stop

    with pytest.raises(Stop):
        place("loading", check=check)
    assert gone(pids(place))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["guard", "parent"])
def test_no_process_is_left_when_the_guard_or_the_owner_is_killed(how, place):
    code = (
        "import os, sys, time; from pathlib import Path; from prefloop.policy.vllm_server import start_vllm\n"
        "server = start_vllm(sys.argv[1], python=sys.argv[2], log_path=Path(sys.argv[3]))\n"
        "print(server.pid, flush=True); time.sleep(600)"
    )
    here = place.directory
    arguments = [str(here / "policy"), str(here / "python"), str(here / "log")]
    owner = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PIDS": str(here / "pids"), "PYTHONPATH": str(ROOT)},
    )
    guard = int(owner.stdout.readline())
    try:
        if how == "parent":
            owner.kill()
            assert gone([guard, *pids(place)])
        else:  # what stop() is for: the group is still known
            os.kill(guard, signal.SIGKILL)
            assert gone([guard])
            os.killpg(guard, signal.SIGKILL)
            assert gone(pids(place))
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()


def test_what_can_not_be_served_starts_nothing(place, tmp_path):
    with pytest.raises(VllmMissing, match=r"pip install '\.\[vllm\]'.*PREFLOOP_VLLM_PYTHON"):
        place(python="")
    with pytest.raises(VllmMissing, match="'/nowhere/python' can not be run"):
        place(python="/nowhere/python")
    (tmp_path / "policy" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UnsafeCheckpoint):
        place()
    assert not (tmp_path / "pids").exists()


def test_weights_fit_a_server_where_architecture_and_tokenizer_are_the_same(tmp_path):
    save_tiny_policy(tmp_path / "one")
    save_tiny_policy(tmp_path / "other", seed=1)
    save_tiny_policy(tmp_path / "wider", hidden_size=64)
    assert same_shape(tmp_path / "one", tmp_path / "other")
    assert not same_shape(tmp_path / "one", tmp_path / "wider")
    again = load_policy(tmp_path / "one")
    save_model(again.model, again.tokenizer, tmp_path / "again")  # the tokenizer's files are written otherwise
    assert same_shape(tmp_path / "one", tmp_path / "again")
    (tmp_path / "other" / "tokenizer.json").unlink()
    assert not same_shape(tmp_path / "one", tmp_path / "other")


@pytest.mark.slow
def test_other_weights_are_loaded_from_a_safe_directory_alone_and_a_server_that_is_gone_is_named(place):
    with place() as server:
        with pytest.raises(UnsafeCheckpoint):
            server.load(place.directory / "nowhere")
        known = ServedModel(host_port=server.host_port, model=server.model, key=server.key)
    with pytest.raises(VllmFailed, match="the vLLM server ended"):
        server.load(place.directory / "policy")
    with pytest.raises(VllmFailed, match=r"the vLLM server on 127\.0\.0\.1:\d+ does not answer"):
        known.load(place.directory / "policy")
