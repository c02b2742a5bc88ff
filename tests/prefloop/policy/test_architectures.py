"""Every supported architecture, from a directory that was made of its config: it loads, answers, scores and trains."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from prefloop.engine import train
from prefloop.policy.batches import PackItem
from prefloop.policy.loading import load_policy, reward_model_from_policy, save_model
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.scoring import score_groups, unshared_because
from prefloop.policy.shared_prefix import SharedPrefixDecoder, decoder_for
from prefloop.policy.tiny import byte_tokenizer
from prefloop.recipes.events import read_events
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.recipes.snapshots import write_snapshot
from prefloop.types import TrainingPair

WINDOW = 24
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": None,
}
_HEADS = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": WINDOW}
# name: (config class, its settings)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _SIZES),
    "qwen2": ("Qwen2Config", _SIZES),
    "qwen3": ("Qwen3Config", {**_SIZES, "head_dim": 8}),
    "mistral": ("MistralConfig", {**_SIZES, "sliding_window": None}),
    "mistral-sliding": ("MistralConfig", {**_SIZES, "sliding_window": WINDOW}),
    "gemma": ("GemmaConfig", {**_SIZES, "head_dim": 8}),
    # soft caps on attention and logits low enough to matter
    "gemma2": (
        "Gemma2Config",
        {**_SIZES, **_HEADS, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0},
    ),
    "gemma3": ("Gemma3TextConfig", {**_SIZES, **_HEADS, "layer_types": ["sliding_attention", "full_attention"]}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
}
SLIDING = {"mistral-sliding", "gemma2", "gemma3"}


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An architecture's name and a directory with random weights."""
    config_class, settings = ARCHITECTURES[request.param]
    tokenizer = byte_tokenizer()
    config = getattr(transformers, config_class)(
        **settings, vocab_size=len(tokenizer), initializer_range=0.3, eos_token_id=256, bos_token_id=None
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
    directory = tmp_path_factory.mktemp(request.param) / "model"
    save_model(model, tokenizer, directory)
    return request.param, directory


def _ids(rng: random.Random, n: int) -> tuple[int, ...]:
    return tuple(rng.randrange(256) for _ in range(n))


def _plain(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    """The second road: transformers' own logits of one whole row."""
    with torch.no_grad():
        logps = model(torch.tensor([prompt + completion])).logits[0].float().log_softmax(-1)
    return float(logps[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None]).sum())


@pytest.mark.parametrize("longest", [WINDOW, 3 * WINDOW], ids=["short", "long"])
def test_it_scores_as_transformers_does_shared_or_not(made: tuple[str, Path], longest: int) -> None:
    name, directory = made
    policy, rng = load_policy(directory), random.Random(longest)
    items = [
        PackItem(_ids(rng, longest - 9), (_ids(rng, 9), _ids(rng, 4))),
        PackItem(_ids(rng, 5), (_ids(rng, longest - 5), _ids(rng, 7), ())),
    ]
    expected = [[_plain(policy.model, i.prompt_ids, c) if c else 0.0 for c in i.completions] for i in items]
    for mine, theirs in zip(score_groups(policy, items), expected, strict=True):
        assert mine == pytest.approx(theirs, abs=2e-4)
    reason = unshared_because(policy.model, longest)
    assert bool(reason) == (name in SLIDING and longest > WINDOW), reason


@pytest.mark.parametrize("longest", [WINDOW, 2 * WINDOW], ids=["short", "long"])
def test_it_answers_as_generate_does(made: tuple[str, Path], longest: int) -> None:
    name, directory = made
    policy, rng = load_policy(directory), random.Random(7 + longest)
    new = 6
    prompts = [SamplePrompt("a", _ids(rng, longest - new)), SamplePrompt("b", _ids(rng, longest - new - 3))]
    plain = name in SLIDING and longest > WINDOW
    assert isinstance(decoder_for(policy.model, longest), SharedPrefixDecoder) != plain
    greedy = sample(policy, prompts, n=2, temperature=0.0, max_tokens=new, seed=1)
    for prompt, group in zip(prompts, greedy, strict=True):
        out = policy.model.generate(
            torch.tensor([prompt.ids]), max_new_tokens=new, do_sample=False, eos_token_id=256, pad_token_id=256
        )
        assert {completion.ids for completion in group.completions} == {tuple(out[0, len(prompt.ids) :].tolist())}
    drawn = sample(policy, prompts, n=3, max_tokens=new, seed=1)
    for prompt, group in zip(prompts, drawn, strict=True):
        for completion in group.completions:
            assert completion.logp_sum == pytest.approx(_plain(policy.model, prompt.ids, completion.ids), abs=2e-4)


@pytest.mark.slow
def test_it_trains_says_where_prompts_are_not_shared_and_loads_again(made: tuple[str, Path], tmp_path: Path) -> None:
    name, directory = made
    rows = [TrainingPair(f"r{at}", f"Say {at}, and why.", " yes, gladly" * 2, " no", p_first=1.0) for at in range(4)]
    info = write_snapshot(tmp_path / "snapshot.jsonl", rows)
    spec = RunSpec(
        run_id=name,
        kind="dpo",
        start=str(directory),
        reference=str(directory),
        objective=Objective(loss="dpo", batch=4, epochs=2, lr=1e-3),
        snapshot_sha256=info.sha256,
    )
    write_spec(tmp_path, spec)
    assert train.run(tmp_path).exit_code == 0
    events = read_events(tmp_path / "events.jsonl")[0]
    first, last = (event.data["values"] for event in events if event.type == "metric")
    assert first["loss"] == pytest.approx(0.6931472, abs=1e-4)  # nothing is learnt yet: ln 2
    assert last["loss"] < first["loss"]
    said = [event.data["message"] for event in events if event.type == "log"]
    assert [("looks 24 tokens back" in text) for text in said] == ([True] if name in SLIDING else [])

    ours = load_policy(tmp_path / "final").model
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "final", local_files_only=True).eval()
    ids = torch.tensor([_ids(random.Random(1), 40)])
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


def test_it_can_become_a_reward_model(made: tuple[str, Path]) -> None:
    model = reward_model_from_policy(load_policy(made[1])).model
    assert model.config.num_labels == 1
