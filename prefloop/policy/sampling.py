"""Sampling: each prompt is processed once, its cache expanded to n, and finished completions leave the batch.

What is unusual here:
1. The uniform draws of completion k of a prompt come from a counter-based generator keyed (seed, prompt id, k), one
   draw a token, turned into a token by the inverse of the distribution function. Batch and n don't matter to them,
   so a completion is the same whoever is sampled beside it (but for ties at the last bit of a float).
2. The log-prob that is kept is the policy's own, at temperature 1 and unfiltered, whatever it was sampled with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefloop.policy.decoding import Decoder
from prefloop.policy.loading import Policy, stop_ids
from prefloop.policy.precision import in_full
from prefloop.policy.prompts import decode_completion
from prefloop.policy.scoring import evaluating, unshared_because
from prefloop.policy.shared_prefix import decoder_for
from prefloop.types import Completion, Group, PrefloopError

DEFAULT_TOKEN_BUDGET = 16384  # tokens held in the key-value cache at once, on a CPU
GPU_TOKEN_BUDGET = 262_144  # where memory allows: a step's time there is that of starting its kernels, not of its rows
_COMPACT_BELOW = 0.75  # when fewer than this share of the rows are still going, the others leave


class PromptTooLong(PrefloopError):
    """The prompt and its answer do not fit into the model's context."""


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    id: str
    ids: tuple[int, ...]


def sample(
    policy: Policy,
    prompts: Sequence[SamplePrompt],
    *,
    n: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int,
    seed: int,
    first_index: int = 0,
    token_budget: int | None = None,
    on_group: Callable[[Group], None] | None = None,
    source: str = "",
) -> list[Group]:
    """Draw n completions of each prompt, numbered first_index, first_index + 1, ...; groups in the order of prompts.

    Temperature 0 is greedy. top_k 0 and top_p 1 filter nothing. A completion ends with a stop token (kept in `ids`,
    `finished`) or after max_tokens. `on_group` is called with each group as soon as its last completion ends.
    `token_budget` affects memory and changes no answer except for float ties; without one it depends on the device.
    """
    check_draws(n=n, temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=max_tokens, first_index=first_index)
    if len({prompt.id for prompt in prompts}) != len(prompts):
        raise ValueError("prompt ids must differ: they key the draws")
    limit = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    for prompt in prompts:
        check_room(prompt, max_tokens=max_tokens, limit=limit)
    budget = token_budget or default_budget(policy)
    stops = torch.tensor(stop_ids(policy), dtype=torch.long, device=policy.device)
    found: dict[int, dict[int, Completion]] = {index: {} for index in range(len(prompts))}
    groups: dict[int, Group] = {}
    with evaluating(policy.model), torch.inference_mode():
        longest = max((len(prompt.ids) for prompt in prompts), default=0) + max_tokens
        decoder = decoder_for(policy.model, longest)
        mixed = not unshared_because(policy.model, longest)
        for wave in _waves(prompts, n, max_tokens, budget, mixed=mixed):
            for index, k, ids, logp_sum, finished in _run_wave(
                decoder,
                prompts,
                wave,
                choose=_chooser(temperature, top_p, top_k),
                draws=lambda index, k: _uniforms(seed, prompts[index].id, first_index + k, max_tokens),
                max_tokens=max_tokens,
                stops=stops,
            ):
                text = decode_completion(policy.tokenizer, ids)
                found[index][k] = Completion(text, tuple(ids), logp_sum, source, seed, finished)
                if len(found[index]) == n:
                    done = found.pop(index)
                    groups[index] = Group(prompts[index].id, tuple(done[k] for k in range(n)))
                    if on_group is not None:
                        on_group(groups[index])
    return [groups[index] for index in range(len(prompts))]


def default_budget(policy: Policy) -> int:
    """Say how many tokens' keys and values may be held at once: on a GPU as many as fit into a quarter of its free
    memory.
    """
    if policy.device.type != "cuda":
        return DEFAULT_TOKEN_BUDGET
    config = policy.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * size * policy.dtype.itemsize
    free, _ = torch.cuda.mem_get_info(policy.device)
    return int(min(GPU_TOKEN_BUDGET, max(DEFAULT_TOKEN_BUDGET, free // 4 // per_token)))


def check_draws(*, n: int, temperature: float, top_p: float, top_k: int, max_tokens: int, first_index: int = 0) -> None:
    """Raise ValueError for settings that no engine can sample with."""
    if n < 1 or max_tokens < 1 or first_index < 0:
        raise ValueError("n and max_tokens must be at least 1, first_index at least 0")
    if temperature < 0 or not 0 < top_p <= 1 or top_k < 0:
        raise ValueError("temperature must be >= 0, top_p in (0, 1], top_k >= 0")


def check_room(prompt: SamplePrompt, *, max_tokens: int, limit: int | None) -> None:
    """Raise PromptTooLong if the prompt and max_tokens more exceed the model's `limit` (None: no limit)."""
    if not prompt.ids:
        raise ValueError(f"prompt {prompt.id} has no tokens")
    if limit and len(prompt.ids) + max_tokens > limit:
        raise PromptTooLong(
            f"prompt {prompt.id} has {len(prompt.ids)} tokens; with {max_tokens} to come that is more than the "
            f"{limit} of the model"
        )


def pick(logits: Tensor, draws: Tensor, *, temperature: float, top_p: float, top_k: int) -> tuple[Tensor, Tensor]:
    """Turn logits (B, V) and uniform draws (B,) into tokens (B,) and their log-probs (B,) at temperature 1.

    Computed in fp32, or in float64 if the logits are.
    """
    logits = in_full(logits)
    normaliser = logits.logsumexp(dim=-1, keepdim=True)
    if temperature == 0:
        tokens = logits.argmax(dim=-1, keepdim=True)
    else:
        plain = temperature == 1 and top_p == 1 and not 0 < top_k < logits.shape[-1]
        probabilities = (logits - normaliser).exp_() if plain else _filtered(logits / temperature, top_p, top_k)
        cumulative = probabilities.cumsum(dim=-1)
        total = cumulative[:, -1:]
        # strictly below the total, so that the token found has a positive probability even after rounding
        target = (draws[:, None].to(total.dtype) * total).minimum(total.nextafter(torch.zeros_like(total)))
        tokens = torch.searchsorted(cumulative, target, right=True)
    return tokens.squeeze(1), (logits.gather(1, tokens) - normaliser).squeeze(1)


def _filtered(scaled: Tensor, top_p: float, top_k: int) -> Tensor:
    """Softmax of (B, V) logits after top-k, then top-p (both keep at least the most probable token)."""
    if 0 < top_k < scaled.shape[-1]:
        least = scaled.topk(top_k, dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, float("-inf"))
    probabilities = scaled.softmax(dim=-1)
    if top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # mass of what is more probable
        drop = torch.zeros_like(probabilities, dtype=torch.bool).scatter_(1, order, before >= top_p)
        probabilities = probabilities.masked_fill(drop, 0.0)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def _chooser(temperature: float, top_p: float, top_k: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return lambda logits, draws: pick(logits, draws, temperature=temperature, top_p=top_p, top_k=top_k)


def _uniforms(seed: int, prompt_id: str, k: int, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    key = hashlib.sha256(f"{seed}\0{prompt_id}\0{k}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little"))).random(count)


def _waves(
    prompts: Sequence[SamplePrompt], n: int, max_tokens: int, token_budget: int, *, mixed: bool
) -> Iterator[list[tuple[int, range]]]:
    """Divide (prompt, completions) into batches that fit the budget; unmixed batches have one prompt length."""
    wave: list[tuple[int, range]] = []
    rows = 0
    for index in sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].ids), i)):
        start = 0
        while start < n:
            longest = len(prompts[wave[0][0]].ids) if wave else len(prompts[index].ids)
            room = token_budget // (longest + max_tokens) - rows
            if wave and (room < 1 or (not mixed and len(prompts[index].ids) != longest)):
                yield wave
                wave, rows = [], 0
                continue
            take = min(n - start, max(room, 1))
            wave.append((index, range(start, start + take)))
            rows += take
            start += take
    if wave:
        yield wave


def _run_wave(
    decoder: Decoder,
    prompts: Sequence[SamplePrompt],
    wave: Sequence[tuple[int, range]],
    *,
    choose: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    draws: Callable[[int, int], np.ndarray[Any, np.dtype[np.float64]]],
    max_tokens: int,
    stops: Tensor,
) -> Iterator[tuple[int, int, list[int], float, bool]]:
    """Sample one batch; yields (prompt, k, ids, log-prob sum, finished) as completions end."""
    device = stops.device
    names = [(index, k) for index, ks in wave for k in ks]
    repeats = torch.tensor([len(ks) for _, ks in wave], device=device)
    uniforms = torch.from_numpy(np.stack([draws(index, k) for index, k in names])).to(device)
    logits = decoder.prefill([prompts[index].ids for index, _ in wave], repeats, max_tokens)
    rows = torch.arange(len(names), device=device)  # which name each row of the cache belongs to
    alive = torch.ones(len(names), dtype=torch.bool, device=device)
    tokens = torch.zeros(len(names), max_tokens, dtype=torch.long, device=device)
    logps = torch.zeros(len(names), max_tokens, dtype=torch.float64, device=device)
    for step in range(max_tokens):
        chosen, logp = choose(logits, uniforms[rows, step])
        tokens[rows, step], logps[rows, step] = chosen, logp.double()
        stopped = torch.isin(chosen, stops)
        ended = alive & (stopped if step + 1 < max_tokens else torch.ones_like(stopped))
        if bool(ended.any()):
            for place in ended.nonzero().flatten().tolist():
                row = int(rows[place])
                ids = tokens[row, : step + 1].tolist()
                yield (*names[row], ids, float(logps[row, : step + 1].sum()), bool(stopped[place]))
            alive = alive & ~ended
            going = int(alive.sum())
            if not going:
                return
            if going < _COMPACT_BELOW * len(alive):
                keep = alive.nonzero().flatten()
                decoder.keep(keep)
                rows, chosen, alive = rows[keep], chosen[keep], alive[keep]
        logits = decoder.step(chosen)
