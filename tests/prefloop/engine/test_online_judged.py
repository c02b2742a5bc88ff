"""A judge behind an endpoint, inside a step: what it said is never asked again, and where it is down the run waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from prefloop.engine import train
from prefloop.engine.online.judges import Connection, read_connection
from prefloop.engine.online.stream import StreamLog
from prefloop.engine.step_losses import Answers
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.opened import ToJudge, open_judge
from prefloop.judging.render import load_template
from prefloop.judging.spec import JudgeSpec
from prefloop.recipes.events import EventWriter, read_events
from prefloop.types import Completion, Group

MakeOnline = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]


class Judge:
    """Prefers the answer shown first, a little, by log-probs; answers 503 past `most` calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keys: set[str | None] = set()
        self.most = 10**9
        self.lock = threading.Lock()


@pytest.fixture
def judge() -> Iterator[tuple[Judge, str]]:
    said = Judge()

    class Handler(BaseHTTPRequestHandler):
        @override
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with said.lock:
                open_ = len(said.asked) < said.most
                if open_:
                    said.asked.append(body)
                    said.keys.add(self.headers.get("Authorization"))
            p_first = 0.5 + (sum(body.encode()) % 40) / 100
            content = [{"token": "A", "logprob": _log(p_first)}, {"token": "B", "logprob": _log(1 - p_first)}]
            answer = {
                "choices": [
                    {
                        "message": {"role": "assistant", "content": "A"},
                        "logprobs": {"content": [{**content[0], "top_logprobs": content}]},
                        "finish_reason": "stop",
                    }
                ]
            }
            payload = json.dumps(answer if open_ else {"error": "down"}).encode()
            self.send_response(200 if open_ else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.send_header("Retry-After", "3600")  # longer than a client waits: it gives up at once
            self.end_headers()
            self.wfile.write(payload)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield said, f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def _log(p: float) -> float:
    import math

    return math.log(p)


def connection(address: str) -> Connection:
    return Connection(f"http://{address}/v1", "sesame", (address,))


def spec() -> dict[str, Any]:
    template = load_template("pairwise-logprob")
    text = f"[system]\n{template.system}\n[user]\n{template.user}"
    judge = JudgeSpec(kind="llm", name="j", model="m", template=text, criterion="kind", mode="logprob")
    return {"reward_model": None, "judge": judge}


def verdicts(run_dir: Path) -> list[dict[str, Any]]:
    return [event.data for event in read_events(run_dir / "events.jsonl")[0] if event.type == "verdict"]


@pytest.mark.slow
def test_both_orders_are_asked_and_averaged_and_the_key_is_nowhere(
    make_online: MakeOnline, judge: tuple[Judge, str]
) -> None:
    said, address = judge
    run_dir = make_online("dpo", online=spec())
    assert train.run(run_dir, connection=connection(address)).exit_code == 0
    assert len(said.asked) == len(verdicts(run_dir)) == 12 * 2
    assert said.keys == {"Bearer sesame"}
    by_pair: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for verdict in verdicts(run_dir):
        by_pair.setdefault((verdict["step"], verdict["row"]), []).append(verdict)
    assert all(sorted(v["order"] for v in two) == ["01", "10"] for two in by_pair.values())
    labels = [event.data for event in read_events(run_dir / "events.jsonl")[0] if event.type == "label"]
    for line in labels:
        for row, i, j, p in line["pairs"]:
            average = sum(v["p_first"] for v in by_pair[line["step"], row]) / 2
            assert (i, j, p) == (0, 1, float(average > 0.5))
    for path in run_dir.rglob("*"):
        if path.is_file():
            assert b"sesame" not in path.read_bytes(), path


class Tools:
    """A judge behind an endpoint, with no cap."""

    def __init__(self, address: str) -> None:
        self._at = connection(address)

    def endpoint(self, spec: JudgeSpec) -> ChatEndpoint:
        return ChatEndpoint(self._at.base_url, spec.model, self._at.api_key, self._at.allow)

    def meter(self, spec: JudgeSpec) -> None:
        return None

    def rewards(self, spec: JudgeSpec) -> Any:
        raise AssertionError("it is no reward model")

    def check(self) -> None: ...


@pytest.mark.slow
def test_a_label_is_the_mean_of_the_orders_that_were_asked(tmp_path: Path, judge: tuple[Judge, str]) -> None:
    said, address = judge
    group = Group("p", (Completion(text="one"), Completion(text="two")))
    log = StreamLog(EventWriter(tmp_path / "events.jsonl"), [])
    opened = open_judge(spec()["judge"], log, Tools(address))
    asked = ToJudge("1:0", "say", ("one", "two"), of=(1, Answers(0, "p", "say", (1,), group)))
    (label,) = opened.labels([(asked, (0, 1))])
    p = label.p_first
    # shown first with a probability of the body's own: the second order's is of the other answer
    by_order = {line["order"]: line for line in (event.data for event in read_events(tmp_path / "events.jsonl")[0])}
    straight, swapped = (0.5 + (sum(body.encode()) % 40) / 100 for body in sorted(said.asked, key=_two_is_first))
    assert p == pytest.approx((straight + 1 - swapped) / 2, abs=1e-9)
    assert sorted(by_order) == ["01", "10"]


def _two_is_first(body: str) -> bool:
    return body.index("two") < body.index("one")


@pytest.mark.slow
def test_a_judge_that_dies_leaves_a_checkpoint_and_is_asked_nothing_twice(
    make_online: MakeOnline, judge: tuple[Judge, str], story: Story
) -> None:
    said, address = judge
    straight, broken = make_online("dpo", "straight", online=spec()), make_online("dpo", "broken", online=spec())
    train.run(straight, connection=connection(address))
    said.asked.clear()
    said.most = 13  # in the middle of the second step
    ended = train.run(broken, connection=connection(address))
    assert ended.failure is not None
    assert (ended.failure.failure_class, ended.exit_code) == ("judge_unreachable", 6)
    assert (broken / "step-000001" / "manifest.json").exists()
    assert len(verdicts(broken)) == 13
    said.most = 10**9
    assert train.run(broken, connection=connection(address)).exit_code == 0
    assert story(broken) == story(straight)
    assert len(said.asked) == len(set(said.asked)) == 24  # each question was paid for once


@pytest.mark.slow
def test_a_run_that_is_told_to_leave_leaves_between_two_calls_and_asks_nothing_twice(
    make_online: MakeOnline, judge: tuple[Judge, str], story: Story
) -> None:
    said, address = judge
    straight, left = make_online("dpo", "straight", online=spec()), make_online("dpo", "left", online=spec())
    train.run(straight, connection=connection(address))
    said.asked.clear()

    def asked() -> bool:
        return len(said.asked) >= 1

    ended = train.run(left, connection=connection(address), should_leave=asked, at_once=asked)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.step) == ("left", 0)
    assert 1 <= len(verdicts(left)) == len(said.asked) < 8  # of the first step's
    assert train.run(left, connection=connection(address)).exit_code == 0
    assert story(left) == story(straight)
    assert len(said.asked) == len(set(said.asked)) == 24


def test_a_refusal_is_somebody_elses_to_put_right(make_online: MakeOnline) -> None:
    run_dir = make_online("dpo", online=spec())
    ended = train.run(run_dir, connection=Connection("http://127.0.0.1:9/v1"))  # an address that is not allowed
    assert ended.failure is not None
    assert ended.failure.failure_class == "judge_refused"


def test_a_connection_is_read_from_a_line_and_never_shown() -> None:
    read = read_connection('{"base_url": "https://judge/v1", "api_key": "sesame", "allow": ["judge:443"]}')
    assert read == Connection("https://judge/v1", "sesame", ("judge:443",))
    assert "sesame" not in repr(read)
    with pytest.raises(ValueError, match="did not hold a connection") as caught:
        read_connection('{"api_key": "sesame"')
    assert "sesame" not in str(caught.value)
