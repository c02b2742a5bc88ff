"""A real vLLM on the CPU serves a checkpoint that we wrote: same tokens, same log-probs, and the judges' protocol.

One server for the whole file. What a lost server or worker comes to is in tests/faults/test_vllm.py.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch

from config.env import vllm_python
from prefloop.config import ConfigError, apply_settings
from prefloop.engine import train
from prefloop.engine.online import samplers
from prefloop.engine.online.judges import Connection
from prefloop.engine.online.served import DIRECTORY, ServedSampler
from prefloop.engine.online.stream import records_of
from prefloop.judging.asking import Question
from prefloop.judging.errors import JudgeUnreachable
from prefloop.judging.judge import LlmPairJudge
from prefloop.judging.render import load_template
from prefloop.judging.spec import JudgeSpec
from prefloop.policy.adapters import add_adapter, merge
from prefloop.policy.batches import PackItem
from prefloop.policy.loading import load_policy, load_reader, save_model
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.scoring import score_groups
from prefloop.policy.served import EndpointPrompt, EndpointSampler, VllmSampler, sample_served
from prefloop.policy.vllm_client import ServedModel, same_shape
from prefloop.policy.vllm_server import start_vllm
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.events import read_events
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.prompts import PromptRow, write_prompts
from prefloop.recipes.runspec import KEPT, RunSpec, write_spec
from prefloop.worlds.letters.sft import train_sft
from prefloop.worlds.letters.world import LettersWorld

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A barely trained letters policy with an adapter merged into it, and room for a judge's prompt.

    The size is `full`: the tests' tiny policy has heads of 16 dimensions, which vLLM has no CPU kernel for.
    """
    place = tmp_path_factory.mktemp("served")
    train_sft(place / "letters", size="full", n_letters=160, threads=1)
    policy = load_policy(place / "letters")
    adapted = add_adapter(policy.model, Adapter(kind="lora"), base=str(place / "letters"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # zero at first, when merging would prove nothing
                torch.nn.init.normal_(parameter, std=0.05)
    merged = merge(adapted)
    merged.config.max_position_embeddings = 2048
    policy.tokenizer.model_max_length = 2048
    save_model(merged, policy.tokenizer, place / "merged")
    return place / "merged"


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    python = vllm_python(ROOT)
    if not python:
        pytest.skip("vllm: not installed (make vllm)")
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with start_vllm(checkpoint, python=python, log_path=log, dtype="float32", on_cpu=True) as server:
        yield server


@pytest.fixture(scope="module")
def endpoint(server):
    with server.endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def reader(checkpoint):
    return load_reader(checkpoint)


@pytest.fixture(scope="module")
def policy(checkpoint):
    return load_policy(checkpoint)


@pytest.fixture(scope="module")
def prompts(reader):
    chosen = LettersWorld(0).prompts("eval")[:3]
    return [SamplePrompt(prompt.id, encode_prompt(reader.tokenizer, prompt.text)) for prompt in chosen]


def test_greedy_takes_the_same_tokens_as_transformers(endpoint, reader, policy, prompts):
    theirs = sample_served(VllmSampler(endpoint, reader, max_tokens=48, seed=0, temperature=0), prompts, n=1)
    ours = sample(policy, prompts, n=1, max_tokens=48, seed=0, temperature=0)
    for a, b in zip(theirs, ours, strict=True):
        (mine,), (yours,) = a.completions, b.completions
        assert (mine.ids, mine.text, mine.finished) == (yours.ids, yours.text, yours.finished)
        assert mine.logp_sum == pytest.approx(yours.logp_sum, abs=2e-3)


def test_log_probs_are_the_policy_s_own_whatever_they_were_sampled_with(endpoint, reader, policy, prompts):
    """2e-3 nats a completion of up to 48 tokens: two programs sum in fp32 in other orders (1.6e-5 was seen)."""
    sampler = VllmSampler(endpoint, reader, max_tokens=48, seed=1, temperature=0.7, top_p=0.9, top_k=50)
    groups = sample_served(sampler, prompts, n=6)
    items = [PackItem(p.ids, tuple(c.ids for c in g.completions)) for p, g in zip(prompts, groups, strict=True)]
    for scored, group in zip(score_groups(policy, items), groups, strict=True):
        assert [c.logp_sum for c in group.completions] == pytest.approx([float(s) for s in scored], abs=2e-3)
        for completion in group.completions:
            assert completion.finished == (completion.ids[-1] in reader.stop_ids)
            assert completion.finished or len(completion.ids) == 48
    texts = {c.text for group in groups for c in group.completions}
    assert len(texts) > 9  # different draws, not one answer six times


def test_completion_k_is_the_same_whatever_n_is(endpoint, reader, prompts):
    sampler = VllmSampler(endpoint, reader, max_tokens=24, seed=2)
    few, many = (sample_served(sampler, prompts[:1], n=n)[0].completions for n in (2, 6))
    assert [c.ids for c in few] == [c.ids for c in many[:2]]
    other = VllmSampler(endpoint, reader, max_tokens=24, seed=3)
    assert [c.ids for c in sample_served(other, prompts[:1], n=2)[0].completions] != [c.ids for c in few]


def test_more_tokens_than_a_batch_holds_are_answered_with_seeds(endpoint, reader, prompts):
    """Where a prompt is cut at the end of a batch, vLLM's CPU build ends."""
    ids = prompts[0].ids * (2000 // len(prompts[0].ids))
    long = [SamplePrompt(f"p{n}", ids[n : n + 1000]) for n in range(32)]  # none begins as another does
    assert len(sample_served(VllmSampler(endpoint, reader, max_tokens=1, seed=4), long, n=1)) == 32


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_as_an_endpoint_it_answers_by_chat_and_by_text(api, endpoint):
    prompt = EndpointPrompt("p", ({"role": "user", "content": "Write a thank-you note to Maria about the flowers."},))
    drawn = EndpointSampler(endpoint, max_tokens=16, seed=0, api=api).draw(prompt, 0)
    assert drawn.completion.text
    assert (drawn.completion.ids, drawn.completion.logp_sum) == ((), None)
    assert drawn.told_logprobs is not None
    assert all(value <= 0 for value in drawn.told_logprobs)


LETTERS = ("Dear Maria,\nThank you for the flowers.\nWarmly, Tom", "Hey, got it.")


@pytest.mark.parametrize("name", ["pairwise-logprob", "pairwise-soft"])
def test_a_judge_by_log_probs_reads_what_vllm_tells(name, endpoint):
    """A letters policy is no good judge: what counts is that probabilities arrive and are read, or honestly are not."""
    judge = LlmPairJudge(endpoint, load_template(name), "The kinder letter.")
    for order in ((0, 1), (1, 0)):
        verdict = judge.ask(Question("Write to Maria.", (LETTERS[0], LETTERS[1]), order))
        assert verdict.state in ("ok", "unparseable"), verdict
        assert (verdict.p_first is not None) == (verdict.state == "ok")
        told = json.loads(verdict.raw)["top_logprobs"]
        assert len(told) >= 15  # twenty tokens, some with one text
        assert 0 < sum(math.exp(value) for value in told.values()) <= 1 + 1e-4


def test_a_judge_by_text_gives_a_verdict_or_says_that_there_is_none(endpoint):
    judge = LlmPairJudge(endpoint, load_template("pairwise"), "The kinder letter.", max_tokens=32)
    for order in ((0, 1), (1, 0)):
        verdict = judge.ask(Question("Write to Maria.", (LETTERS[0], LETTERS[1]), order))
        assert verdict.state in ("ok", "unparseable"), verdict
        assert (verdict.outcome is not None) == (verdict.state == "ok")
        assert verdict.raw
        assert verdict.usage["completion_tokens"] <= 32


def test_other_weights_are_loaded_in_place_and_nothing_of_the_old_ones_is_left(
    server, endpoint, reader, checkpoint, prompts, tmp_path
):
    """The prompts were read with the old weights before: their cached keys and values must be forgotten."""
    other = load_policy(checkpoint)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.mul_(1.1)
    save_model(other.model, other.tokenizer, tmp_path / "other")
    assert same_shape(checkpoint, tmp_path / "other")
    pid = server.pid
    try:
        for directory, weights in ((tmp_path / "other", other), (checkpoint, load_policy(checkpoint))):
            server.load(directory)
            groups = sample_served(VllmSampler(endpoint, reader, max_tokens=24, seed=5), prompts, n=3)
            items = [PackItem(p.ids, tuple(c.ids for c in g.completions)) for p, g in zip(prompts, groups, strict=True)]
            for scored, group in zip(score_groups(weights, items), groups, strict=True):
                assert [c.logp_sum for c in group.completions] == pytest.approx([float(s) for s in scored], abs=2e-3)
    finally:
        server.load(checkpoint)
    assert (server.pid, server.alive()) == (pid, True)


def test_no_path_that_changes_the_server_is_open_to_who_has_no_key(server):
    with httpx.Client(trust_env=False, base_url=f"http://{server.host_port}") as stranger:
        told = [
            stranger.post("/collective_rpc", json={"method": "reload_weights"}),
            stranger.post("/pause"),
            stranger.post("/reset_prefix_cache", headers={"Authorization": "Bearer wrong"}),
            stranger.get("/server_info"),
            stranger.get("/v1/models"),
        ]
        assert [answer.status_code for answer in told] == [401] * 5
        assert stranger.get("/health").status_code == 200


def served_run(run_dir, checkpoint, settings, **more):
    """Make the directory of a J-BOND run of three steps, whose answers a vLLM server draws."""
    numbers = {"draws.engine": "vllm", "draws.max_tokens": 24, "objective.batch": 4, "objective.lr": 1e-3}
    recipe = apply_settings(CATALOGUE["j-bond"], {**numbers, "anchor.rate": 0.5, **settings})
    run_dir.mkdir()
    rows = [PromptRow(prompt.id, prompt.text) for prompt in LettersWorld(0).prompts("train")[:12]]
    prompts = write_prompts(run_dir / "prompts.jsonl", rows)
    online = OnlineSpec.of(recipe, judge=JudgeSpec(kind="world", name="truth", world="letters", seed=0))
    spec = RunSpec(
        run_id="served",
        kind="online",
        start=str(checkpoint),
        snapshot="prompts.jsonl",
        snapshot_sha256=prompts.sha256,
        reference=str(checkpoint),
        objective=recipe.objective,
        online=online,
        adapter=recipe.adapter,
        threads=1,
        **more,
    )
    write_spec(run_dir, spec)
    return run_dir


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_a_run_on_policy_gives_the_server_its_weights_at_each_step(server, checkpoint, tmp_path, monkeypatch, adapter):
    """J-BOND draws of the policy and of an anchor that follows it: the one server holds each in its turn.

    What vLLM says of its answers is held against the live policy, which has moved on by every step before.
    """
    drawn: list[tuple[str, float]] = []  # by source: how much the policy said otherwise, at most
    norms: list[float] = []

    class Watched(ServedSampler):
        def load(self, policy):
            super().load(policy)
            self.policy = policy

        def draw(self, prompts, settings, *, seed, on_group):
            groups = super().draw(prompts, settings, seed=seed, on_group=on_group)
            items = [PackItem(p.ids, tuple(c.ids for c in g.completions)) for p, g in zip(prompts, groups, strict=True)]
            gaps = [
                abs(completion.logp_sum - float(ours))
                for scored, group in zip(score_groups(self.policy, items), groups, strict=True)
                for ours, completion in zip(scored, group.completions, strict=True)
            ]
            drawn.append((settings.source, max(gaps)))
            norms.append(sum(float(one.detach().double().square().sum()) for one in self.policy.model.parameters()))
            return groups

    monkeypatch.setattr(samplers, "ServedSampler", Watched)
    run_dir = served_run(tmp_path / "run", checkpoint, {"adapter.kind": adapter})
    told = ServedModel(host_port=server.host_port, model=server.model, key=server.key)
    pid = server.pid
    try:
        ended = train.run(run_dir, connection=Connection(sampler=told))
    finally:
        server.load(checkpoint)
    assert ended.exit_code == 0, ended
    assert [source for source, _ in drawn] == ["current", "anchor"] * 3  # 12 prompts, 4 a step
    assert max(gap for _, gap in drawn) < 2e-3, drawn
    assert len(set(norms[::2])) == 3  # other weights at each step
    assert (server.pid, server.alive()) == (pid, True)
    assert not (run_dir / DIRECTORY).exists()


def test_two_processes_that_share_the_weights_give_the_server_whole_ones_at_each_step(server, checkpoint, tmp_path):
    """The first process tells the server, with weights that both have in parts."""
    run_dir = served_run(tmp_path / "run", checkpoint, {}, processes=2, shard="always", keep_every=1)
    told = {"host_port": server.host_port, "model": server.model, "key": server.key}
    command = [sys.executable, "-m", "prefloop.engine.train", "--connection-from-stdin", str(run_dir)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps({"base_url": "", "sampler": told}) + "\n",
            text=True,
            capture_output=True,
            check=False,
        )
    finally:
        server.load(checkpoint)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((run_dir / "passes.json").read_text("utf-8"))["sharded"]
    gaps = []
    for step, record in records_of(read_events(run_dir / "events.jsonl")[0]).items():
        policy = load_policy(checkpoint if step == 1 else run_dir / f"{KEPT}{step - 1:06d}")
        for one in record.answers:
            own = one.by("current")
            (scored,) = score_groups(policy, [one.item(own)])
            gaps += [
                abs(one.group.completions[at].logp_sum - float(ours)) for at, ours in zip(own, scored, strict=True)
            ]
    assert len(gaps) == 12  # prompts, each in one of three steps
    assert max(gaps) < 2e-3, gaps


def test_a_run_that_samples_by_vllm_says_what_it_lacks_where_nobody_serves_it(checkpoint, tmp_path):
    recipe = apply_settings(CATALOGUE["j-bond"], {"draws.engine": "vllm"})
    with pytest.raises(ConfigError, match="needs a vLLM server, which a worker starts and names through a pipe"):
        samplers.Samplers(recipe.draws, run_dir=tmp_path, served=None)
    gone = ServedModel(host_port="127.0.0.1:9", model="m", key="k")
    made = samplers.Samplers(recipe.draws, run_dir=tmp_path, served=gone)
    policy = load_policy(checkpoint)
    made.load({"current": policy, "anchor": policy}, still=frozenset())
    with pytest.raises(JudgeUnreachable, match="the vLLM server on 127"):
        made["current"].draw([], recipe.draws[0], seed=0, on_group=lambda _: None)
    made.close()
