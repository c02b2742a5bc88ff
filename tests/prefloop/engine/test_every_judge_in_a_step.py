"""Every kind of judge inside a training step, for labels and for scores: real runs, a fake at the HTTP end only."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from typing_extensions import override

from prefloop.engine import train
from prefloop.engine.online.judges import Connection
from prefloop.judging.kinds import KINDS, STEP_LABELS, STEP_SCORES, kind_of, refusal
from prefloop.judging.modes import MODES
from prefloop.judging.render import load_template, template_text
from prefloop.judging.spec import JudgeSpec
from prefloop.policy.loading import save_model
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.events import read_events
from prefloop.recipes.parts import Score
from prefloop.recipes.prompts import PromptRow, write_prompts

MakeOnline = Callable[..., Path]
PROMPTS = [f"Say {word}." for word in ("one", "two", "three", "four")]
ASKED = {"seed": 0, "max_tokens": 8, "criterion": "kind"}


class Server(ThreadingHTTPServer):
    """Compares by one token's log-probs, or grades, as the text of the request falls out; counts what it is asked."""

    daemon_threads = True
    request_queue_size = 128  # the default of 5 loses connections on a busy machine

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Server

    @override
    def log_message(self, format: str, *args: Any) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with self.server.lock:
            self.server.asked.append(body)
        number = sum(body.encode()) % 5
        choice: dict[str, Any] = {
            "message": {"role": "assistant", "content": f"Score: {number}"},
            "finish_reason": "stop",
        }
        if json.loads(body).get("logprobs"):
            p = (1 + number) / 7
            top = [{"token": "A", "logprob": math.log(p)}, {"token": "B", "logprob": math.log(1 - p)}]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        payload = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def judging_policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random policy to which the two letters of a verdict are likely, so that its verdicts can be read."""
    made = tiny_policy(chat=True, max_position_embeddings=4096)
    with torch.no_grad():
        letters = [made.tokenizer.convert_tokens_to_ids(letter) for letter in "AB"]
        made.model.lm_head.weight *= 0.05
        made.model.model.embed_tokens.weight[:, 0] = 8.0
        made.model.lm_head.weight[letters, 0] = 20.0
    directory = tmp_path_factory.mktemp("models") / "judging"
    save_model(made.model, made.tokenizer, directory)
    return directory


@pytest.fixture
def judge_of(judging_policy_dir: Path, reward_model_dir: Path) -> Callable[..., JudgeSpec]:
    """The declaration of a judge of each kind; of one with ways of answering, of that way."""

    def make(kind: str, mode: str = "", key: str = "") -> JudgeSpec:
        declared = kind_of(kind)
        more: dict[str, Any] = {"kind": kind, "name": f"the {kind}", "key": key}
        if declared.weights:
            more["checkpoint"] = str(judging_policy_dir if declared.weights == "policy" else reward_model_dir)
        if declared.modes:
            more |= ASKED | {"mode": mode, "template": template_text(load_template(MODES[mode].template))}  # type: ignore[index]
        if declared.endpoint:
            more["model"] = "m"
        if declared.world:
            more |= {"world": "letters", "noise": 1.0}
        if declared.metadata:
            more["rules"] = {"rules": [{"check": "words", "at_most": 2}], "from_metadata": True}
        if declared.members:
            more["members"] = (make("rules", key="1"), make("llm", "logprob", key="2"), make("reward_model", key="3"))
        return JudgeSpec(**more)

    return make


WAYS = [(kind.name, mode) for kind in KINDS.values() for mode in (("logprob", "additive") if kind.modes else ("",))]


def prepared(run_dir: Path) -> Path:
    """With metadata on two of the prompts, as the judge's rules read it."""
    rows = [
        PromptRow(f"p{at}", text, {"rules": [{"check": "contains", "text": "a"}]} if at % 2 else {})
        for at, text in enumerate(PROMPTS)
    ]
    info = write_prompts(run_dir / "prompts.jsonl", rows)
    spec = json.loads((run_dir / "spec.json").read_text())
    (run_dir / "spec.json").write_text(json.dumps(spec | {"snapshot_sha256": info.sha256}))
    return run_dir


def connection(server: Server) -> Connection:
    there = Connection(f"http://127.0.0.1:{server.server_port}/v1", "sesame", (f"127.0.0.1:{server.server_port}",))
    return Connection(there.base_url, there.api_key, there.allow, members={"2": there})


def said(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in read_events(run_dir / "events.jsonl")[0] if event.type == kind]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mode"), WAYS)
def test_labels_inside_a_step(
    kind: str, mode: str, make_online: MakeOnline, judge_of: Callable[..., JudgeSpec], server: Server
) -> None:
    if refused := refusal(kind_of(kind), STEP_LABELS, "mine", mode):
        assert refused.startswith("judge 'mine' ")
        assert kind == "imported"
        return
    online = {"reward_model": None, "judge": judge_of(kind, mode)}
    run_dir = prepared(make_online("dpo", prompts=PROMPTS, online=online))
    ended = train.run(run_dir, connection=connection(server))
    assert ended.exit_code == 0, ended.failure
    own = [one for one in said(run_dir, "verdict") if not one.get("judge")]
    orders = 2 if mode == "logprob" else 1
    assert len(own) == len(PROMPTS) * orders
    if (kind, mode) != ("policy", "additive"):  # a random policy writes no grade: nothing is labelled by it
        assert {one["state"] for one in own} <= {"ok", "inconsistent"}
        assert any(one["state"] == "ok" for one in own)
    members = {one["judge"] for one in said(run_dir, "verdict") if one.get("judge")}
    assert members == ({"1", "2", "3"} if kind == "ensemble" else set())
    # both orders of each pair, or both of its answers
    assert len(server.asked) == (2 * len(PROMPTS) if kind in ("llm", "ensemble") else 0)
    labelled = sum(len(one["pairs"]) for one in said(run_dir, "label"))
    assert labelled <= len(PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mode"), WAYS)
def test_scores_inside_a_step(
    kind: str, mode: str, make_online: MakeOnline, judge_of: Callable[..., JudgeSpec], server: Server
) -> None:
    if refused := refusal(kind_of(kind), STEP_SCORES, "mine", mode):
        assert refused.startswith("judge 'mine' ")
        assert kind == "imported"
        return
    online = {"reward_model": None, "judge": judge_of(kind, mode), "score": Score(by="judge")}
    run_dir = prepared(make_online("ipo", prompts=PROMPTS, online=online))
    ended = train.run(run_dir, connection=connection(server))
    assert ended.exit_code == 0, ended.failure
    scores = [answer["score"] for one in said(run_dir, "sample") for answer in one["answers"]]
    assert len(scores) == 2 * len(PROMPTS)
    assert all(math.isfinite(score) for score in scores)
    if kind != "world" and (kind, mode) != ("policy", "additive"):  # the world finds no letter in what it drew
        assert len(set(scores)) > 1
    if (kind, mode) == ("llm", "additive"):
        assert set(scores) <= {0.0, 1.0, 2.0, 3.0, 4.0}
        assert len(said(run_dir, "score")) == len(server.asked) == 2 * len(PROMPTS)
    # what scored them by a tournament labels them too, and is asked nothing twice for it
    assert len(server.asked) == len(set(server.asked))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "ipo"])
@pytest.mark.parametrize("mode", ["logprob", "additive"])
def test_a_run_that_left_asks_nothing_twice(
    method: str, mode: str, make_online: MakeOnline, judge_of: Callable[..., JudgeSpec], server: Server, story: Any
) -> None:
    online = {"reward_model": None, "judge": judge_of("llm", mode)}
    straight, left = make_online(method, "straight", online=online), make_online(method, "left", online=online)
    assert train.run(straight, connection=connection(server)).exit_code == 0
    n_asked = len(server.asked)
    server.asked.clear()

    def leaves() -> bool:
        return 5 <= len(server.asked) <= 10

    assert train.run(left, connection=connection(server), should_leave=leaves, at_once=leaves).exit_code == 75
    assert train.run(left, connection=connection(server)).exit_code == 0
    assert story(left) == story(straight)
    assert len(server.asked) == len(set(server.asked)) == n_asked
