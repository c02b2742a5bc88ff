"""Measuring how many tokens a second a model samples, reads and trains: a probe of a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter
from typing import Any

import torch

from prefloop.policy.adapters import add_adapter
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.loading import Policy
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.scoring import forward_logps, runs_flat
from prefloop.recipes.adapter import Adapter
from prefloop.speeds import Speeds

PROMPT, ANSWER = 32, 48  # tokens
_ROWS, _PAIRS = 256, 32  # answers drawn beside each other, pairs in a pass: as many as small models have
_WORK = 3e10  # parameters times tokens of one timing: two seconds of training on two cores
_STEPS = 12  # of sampling, which is timed for so many tokens of each row
_SECONDS = 2.0  # a timing is repeated within so long, three times at most
_TOKENS = 1000  # of the vocabulary, from which texts of chance are made


def measure(policy: Policy) -> Speeds:
    """Time the policy on tokens of chance; its weights stay as they are. About five seconds for 100M parameters.

    Trained is what training trains by default: all weights, and of a large model an adapter.
    """
    trained_model: Any = policy.model
    n_parameters = sum(weight.numel() for weight in policy.model.parameters())
    tokens = _WORK / n_parameters
    pairs = max(1, min(_PAIRS, int(tokens / (PROMPT + 2 * ANSWER))))
    rows = max(1, min(_ROWS, int(tokens / _STEPS)))
    vocabulary = policy.model.config.get_text_config().vocab_size
    chance = torch.Generator().manual_seed(0)

    def words(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, min(vocabulary, _TOKENS), (n,), generator=chance).tolist())

    items = [PackItem(words(PROMPT), (words(ANSWER), words(ANSWER))) for _ in range(pairs)]
    batches = pack_groups(items, token_budget=2**20, shared=runs_flat(policy.model), device=policy.device)
    n_read = pairs * (PROMPT + 2 * ANSWER)

    def read() -> int:
        for batch in batches:
            forward_logps(policy.model, batch, with_grad=False)
        return n_read

    def train() -> int:
        for batch in batches:
            forward_logps(trained_model, batch, with_grad=True).sum().backward()
        trained_model.zero_grad(set_to_none=True)
        return n_read

    prompts = [SamplePrompt(str(number), words(PROMPT)) for number in range(max(1, rows // 4))]

    def draw() -> int:
        n = min(4, rows)
        groups = sample(policy, prompts, n=n, max_tokens=_STEPS, seed=0)
        return sum(len(completion.ids) for group in groups for completion in group.completions)

    asked = {weight: weight.requires_grad for weight in policy.model.parameters()}
    adapter = Adapter().resolved(n_parameters)
    try:
        sampled, read_ = _rate(draw, policy.device), _rate(read, policy.device)
        if adapter.kind == "none":
            trained_model = policy.model.requires_grad_(requires_grad=True)
            trained = _rate(train, policy.device)
        else:  # gradients of all weights would take several times the memory of what is trained in the end
            trained_model = add_adapter(policy.model, adapter, base="")
            try:
                trained = _rate(train, policy.device)
            finally:
                trained_model.unload()
        return Speeds(sampled=sampled, read=read_, trained=trained)
    finally:
        for weight, wanted in asked.items():
            weight.requires_grad_(wanted)


def as_values(speeds: Speeds) -> dict[str, Any]:
    return {key: float(f"{value:.4g}") for key, value in asdict(speeds).items()}


def _rate(work: Callable[[], int], device: torch.device) -> float:
    """Do the work until it has taken its time, and give the fastest rate: the first time prepares the kernels."""
    best, began = 0.0, perf_counter()
    for _ in range(3):
        started = perf_counter()
        n = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, n / (perf_counter() - started))
        if perf_counter() - began > _SECONDS:
            break
    return best
