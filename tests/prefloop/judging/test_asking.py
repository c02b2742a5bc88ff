"""Asking under a cap: no request that there is no room for, whoever asks, however many at once, whatever goes wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typing_extensions import override

from prefloop.judging.asking import Asked, Question, ask_all
from prefloop.judging.client import ChatEndpoint, Limits
from prefloop.judging.errors import CapReached, JudgeUnreachable
from prefloop.judging.judge import LlmPairJudge
from prefloop.judging.metering import Call, Hold, Most, RemoteMeter, Requests, tokens_at_most
from prefloop.judging.render import load_template
from prefloop.types import LabelledVerdict

QUICK = Limits(read_seconds=0.3, total_seconds=3.0, attempts=3, backoff_seconds=0.01)
USAGE = {"prompt_tokens": 5, "completion_tokens": 1}


class Cap:
    """So many tokens, shared by all who ask; each hold and settlement is one step, as the database's update is."""

    def __init__(self, tokens: float) -> None:
        self.tokens, self.committed, self.most_committed = tokens, 0, 0
        self._lock = threading.Lock()

    def hold(self, most: Sequence[Most]) -> list[Hold]:
        held = [Hold(one.prompt_tokens, one.completion_tokens, 0) for one in most]
        with self._lock:
            if self.committed + sum(one.tokens for one in held) > self.tokens:
                raise CapReached("the cap is reached")
            self.committed += sum(one.tokens for one in held)
            self.most_committed = max(self.most_committed, self.committed)
        return held

    def settle(self, calls: Sequence[Call]) -> None:
        with self._lock:
            for held, usage in calls:
                spent = 0 if usage is None else sum(usage.values()) if usage else held.tokens
                self.committed += spent - held.tokens


class Server(ThreadingHTTPServer):
    """A judge that counts the requests that reach it; `trouble(text, nth)` says what goes wrong with one."""

    daemon_threads = True
    request_queue_size = 128  # with the default of 5, a busy machine loses connections of those who ask at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.usage: dict[str, int] | None = USAGE
        self.trouble: Any = lambda text, nth: ""
        self.stopping = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def n(self) -> int:
        return sum(self.asked.values())

    @override
    def handle_error(self, request: Any, client_address: Any) -> None: ...


class Handler(BaseHTTPRequestHandler):
    server: Server

    @override
    def log_message(self, format: str, *args: Any) -> None: ...

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        with self.server.lock:
            nth = self.server.asked[text]
            self.server.asked[text] += 1
        trouble = self.server.trouble(text, nth)
        if trouble == "silence":
            self.server.stopping.wait(2)
            return
        message = {"role": "assistant", "content": "[[A]]"}
        said: dict[str, Any] = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        if self.server.usage is not None:
            said["usage"] = self.server.usage
        body = json.dumps(said).encode()
        if trouble == "half":
            body = body[: len(body) // 2]
        self.send_response(503 if trouble == "busy" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stopping.set()
    made.shutdown()
    made.server_close()


def judge_at(server: Server) -> LlmPairJudge:
    address = f"127.0.0.1:{server.server_port}"
    endpoint = ChatEndpoint(f"http://{address}/v1", "m", "", [address], limits=QUICK)
    return LlmPairJudge(endpoint, load_template("pairwise"), "kinder", max_tokens=50)


def questions(n: int, by: str = "p") -> list[tuple[int, list[Question]]]:
    return [(k, [Question(f"{by}{k:04}", ("one", "two"))]) for k in range(n)]


class Kept:
    def __init__(self, cap: Cap) -> None:
        self.cap, self.items, self.calls = cap, [], []  # type: ignore[var-annotated]

    def __call__(self, asked: list[Asked[int, LabelledVerdict]]) -> None:
        self.items += [one.item for one in asked if one.replies]
        calls = [call for one in asked for call in one.calls]
        self.calls += calls
        self.cap.settle(calls)


def test_the_most_that_a_request_can_take_is_no_fewer_tokens_than_it_has_bytes(server: Server) -> None:
    """A byte-level tokenizer may take one for each; half of the bytes would let a text of rare letters pass a cap."""
    text = "ᚠᛇᚻ 7391" * 20
    most = judge_at(server).most(Question(text, ("𐍈", "b")))
    assert most.prompt_tokens > len(text.encode()) + len("𐍈".encode())
    assert most.completion_tokens == 50
    assert tokens_at_most("é") >= 2


@pytest.mark.parametrize("told", [USAGE, None])
def test_all_that_a_cap_has_room_for_is_asked_and_not_one_more(server: Server, told: dict[str, int] | None) -> None:
    server.usage = told
    judge = judge_at(server)
    one = sum(vars_of(judge.most(questions(1)[0][1][0])))
    spent = 6 if told else one  # what is not told counts as the most
    cap = Cap(9 * spent + one)  # ten fit: the tenth is held at its most
    kept = Kept(cap)
    with pytest.raises(CapReached):
        ask_all(judge, questions(40), keep=kept, meter=cap)
    assert server.n == len(kept.items) == 10
    assert cap.committed == 10 * spent
    assert cap.most_committed <= cap.tokens


def vars_of(most: Most) -> tuple[int, int]:
    return most.prompt_tokens, most.completion_tokens


def test_several_who_ask_share_one_cap(server: Server) -> None:
    server.usage = None  # a request costs all of its hold
    judge = judge_at(server)
    one = sum(vars_of(judge.most(questions(1, "a")[0][1][0])))
    cap, stopped = Cap(25 * one + one // 2), []

    def ask(by: str) -> None:
        try:
            ask_all(judge_at(server), questions(20, by), keep=Kept(cap), meter=cap)
        except CapReached:
            stopped.append(by)

    threads = [threading.Thread(target=ask, args=(by,)) for by in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.n == 25
    assert set(server.asked.values()) == {1}
    assert cap.committed == 25 * one
    assert len(stopped) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["half", "silence"])
def test_a_request_that_may_have_been_charged_is_counted_and_asking_again_takes_a_hold_of_its_own(
    server: Server, trouble: str
) -> None:
    server.usage = None
    server.trouble = lambda text, nth: trouble if nth == 0 and int(text.split("p00")[1][:2]) % 2 else ""
    judge = judge_at(server)
    one = sum(vars_of(judge.most(questions(1)[0][1][0])))
    cap = Cap(7 * one)
    kept = Kept(cap)
    with pytest.raises(CapReached):
        ask_all(judge, questions(40), keep=kept, meter=cap, at_once=4)
    assert server.n == 7  # the second requests are among them
    assert cap.committed == 7 * one
    assert len(kept.calls) >= 7


def test_a_request_that_was_refused_costs_nothing(server: Server) -> None:
    server.trouble = lambda text, nth: "busy" if nth == 0 else ""
    judge = judge_at(server)
    one = sum(vars_of(judge.most(questions(1)[0][1][0])))
    cap = Cap(4 * 6 + one)
    kept = Kept(cap)
    ask_all(judge, questions(5), keep=kept, meter=cap)
    assert (server.n, cap.committed, len(kept.items)) == (10, 5 * 6, 5)


def test_where_nobody_answers_what_was_held_is_given_back(server: Server) -> None:
    server.trouble = lambda text, nth: "busy"
    cap = Cap(10**9)
    with pytest.raises(JudgeUnreachable):
        ask_all(judge_at(server), questions(3), keep=Kept(cap), meter=cap)
    assert cap.committed == 0


# --- a cap that another process keeps ---------------------------------------------------------------------------------


def test_a_cap_kept_by_another_process_holds_too(server: Server) -> None:
    server.usage = None
    judge = judge_at(server)
    one = sum(vars_of(judge.most(questions(1)[0][1][0])))
    cap = Cap(6 * one)
    ours, theirs = socket.socketpair()
    requests, ended = Requests(ours), threading.Event()

    def keep_cap() -> None:
        while not ended.is_set() and not requests.closed:
            requests.wait(0.2)
            for judge_key, most in requests.read():
                assert judge_key == "j"
                try:
                    requests.answer(cap.hold(most))
                except CapReached as error:
                    requests.answer(error)

    thread = threading.Thread(target=keep_cap)
    thread.start()
    with pytest.raises(CapReached, match="the cap is reached"):
        ask_all(judge, questions(20), keep=Kept(cap), meter=RemoteMeter(theirs, "j"))
    theirs.close()
    thread.join()
    ours.close()
    assert server.n == 6
    assert cap.committed == 6 * one


def test_where_the_keeper_of_the_cap_is_gone_nothing_is_asked(server: Server) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with pytest.raises(JudgeUnreachable, match="the worker that keeps the judge's cap is gone"):
        ask_all(judge_at(server), questions(2), keep=Kept(Cap(0)), meter=RemoteMeter(theirs, ""))
    theirs.close()
    assert server.n == 0


@pytest.mark.slow
def test_who_waits_for_the_keeper_can_be_told_to_stop(server: Server) -> None:
    ours, theirs = socket.socketpair()

    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_all(judge_at(server), questions(2), keep=Kept(Cap(0)), meter=RemoteMeter(theirs, "", check=check))
    ours.close()
    theirs.close()
    assert server.n == 0
