"""The two sides of the sampling benchmark: `python -m benchmarks._sample_sides` answers for either.

Ours is `prefloop.policy.sampling.sample`, the peer `generate` of transformers with `num_return_sequences`, a batch of
prompts padded on the left, its key-value cache and its stopping as they come.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks._harness import matrix_peak, now, serve

_loaded: dict[tuple[str, str, str], Any] = {}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    job = dict(request)
    return {"ours": ours, "transformers": peer, "law": law, "work": work}[job.pop("do")](**job)


def _policy(model: str, device: str, dtype: str) -> Any:
    from prefloop.policy.loading import load_policy

    key = (model, device, dtype)
    if key not in _loaded:
        _loaded[key] = load_policy(model, device=device, dtype=getattr(torch, dtype))
    return _loaded[key]


def _ids(policy: Any, prompts: list[str]) -> list[tuple[int, ...]]:
    from prefloop.policy.prompts import encode_prompt

    return [encode_prompt(policy.tokenizer, prompt) for prompt in prompts]


def ours(
    model: str, prompts: list[str], n: int, max_tokens: int, seed: int, device: str, dtype: str, **_: Any
) -> dict[str, Any]:
    from prefloop.policy.sampling import SamplePrompt, sample

    policy = _policy(model, device, dtype)
    asked = [SamplePrompt(str(at), ids) for at, ids in enumerate(_ids(policy, prompts))]
    started = now(device)
    groups = sample(policy, asked, n=n, max_tokens=max_tokens, seed=seed)
    seconds = now(device) - started
    ids = [completion.ids for group in groups for completion in group.completions]
    return {"seconds": seconds, "tokens": sum(map(len, ids)), "first": _counts(ids)}


def peer(
    model: str, prompts: list[str], n: int, max_tokens: int, seed: int, device: str, dtype: str, **_: Any
) -> dict[str, Any]:
    from prefloop.policy.loading import stop_ids

    policy = _policy(model, device, dtype)
    encoded = _ids(policy, prompts)
    stops = list(stop_ids(policy))
    longest = max(map(len, encoded))
    pad = policy.tokenizer.pad_token_id
    rows = torch.tensor([[pad] * (longest - len(ids)) + list(ids) for ids in encoded], device=device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in encoded], device=device)
    torch.manual_seed(seed)
    started = now(device)
    with torch.no_grad():
        out = policy.model.generate(
            rows,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=n,
            max_new_tokens=max_tokens,
            eos_token_id=stops,
            pad_token_id=pad,
        )
    said = [policy.tokenizer.decode(row, skip_special_tokens=True) for row in out[:, longest:].tolist()]
    seconds = now(device) - started  # both give texts
    assert len(said) == len(out)
    ids = [_until_stop(row, stops) for row in out[:, longest:].tolist()]
    return {"seconds": seconds, "tokens": sum(map(len, ids)), "first": _counts(ids)}


def _until_stop(ids: list[int], stops: list[int]) -> tuple[int, ...]:
    for at, token in enumerate(ids):
        if token in stops:
            return tuple(ids[: at + 1])
    return tuple(ids)


def _counts(completions: list[tuple[int, ...]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for ids in completions:
        counts[str(ids[0])] = counts.get(str(ids[0]), 0) + 1
    return counts


def law(model: str, prompt: str, device: str, dtype: str, **_: Any) -> dict[str, Any]:
    """The exact distribution of the first token after a prompt."""
    policy = _policy(model, device, dtype)
    (ids,) = _ids(policy, [prompt])
    with torch.no_grad():
        logits = policy.model(torch.tensor([ids], device=device)).logits[0, -1].double()
    return {"law": logits.softmax(0).tolist()}


def work(model: str, device: str, dtype: str, **_: Any) -> dict[str, Any]:
    """Say what a sampled token needs at the least, 2 FLOPs a weight, and how fast matrices are multiplied here."""
    n_weights = _policy(model, device, dtype).model.num_parameters()
    return {"token_flops": 2 * n_weights, "peak": matrix_peak(device, dtype)}


if __name__ == "__main__":
    serve(answer)
