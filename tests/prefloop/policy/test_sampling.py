from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from prefloop.policy.batches import PackItem
from prefloop.policy.sampling import PromptTooLong, SamplePrompt, pick, sample
from prefloop.policy.scoring import score_groups
from prefloop.policy.tiny import tiny_policy as make_tiny_policy
from prefloop.types import Group


def _prompts() -> list[SamplePrompt]:
    return [
        SamplePrompt("a", tuple(range(5, 15))),
        SamplePrompt("b", (3, 1, 4)),
        SamplePrompt("c", (65,)),
        SamplePrompt("d", tuple(range(60, 70))),
    ]


def _ids(groups: list[Group]) -> dict[str, list[tuple[int, ...]]]:
    return {group.prompt_id: [completion.ids for completion in group.completions] for group in groups}


def test_sampled_log_probs_equal_rescoring_in_every_architecture(any_policy: Any) -> None:
    prompts = _prompts()
    groups = sample(any_policy, prompts, n=5, max_tokens=24, seed=1)
    scores = score_groups(
        any_policy,
        [PackItem(p.ids, tuple(c.ids for c in g.completions)) for p, g in zip(prompts, groups, strict=True)],
    )
    for group, row in zip(groups, scores, strict=True):
        assert [c.logp_sum for c in group.completions] == pytest.approx(row, abs=1e-4, rel=1e-5)


def test_log_probs_are_the_policys_own_whatever_it_was_sampled_with(tiny_policy: Any) -> None:
    prompts = _prompts()
    groups = sample(tiny_policy, prompts, n=3, max_tokens=12, seed=1, temperature=0.6, top_p=0.8, top_k=20)
    scores = score_groups(
        tiny_policy,
        [PackItem(p.ids, tuple(c.ids for c in g.completions)) for p, g in zip(prompts, groups, strict=True)],
    )
    for group, row in zip(groups, scores, strict=True):
        assert [c.logp_sum for c in group.completions] == pytest.approx(row, abs=1e-4, rel=1e-5)


@pytest.mark.slow
def test_greedy_equals_transformers_generate(any_policy: Any) -> None:
    for group, prompt in zip(
        sample(any_policy, _prompts(), n=1, max_tokens=20, seed=0, temperature=0), _prompts(), strict=True
    ):
        ids = torch.tensor([prompt.ids])
        theirs = any_policy.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=256
        )[0, len(prompt.ids) :].tolist()
        assert list(group.completions[0].ids) == theirs


@pytest.mark.slow
def test_a_completion_is_the_same_alone_and_in_any_batch(any_policy: Any) -> None:
    prompts = _prompts()
    together = _ids(sample(any_policy, prompts, n=6, max_tokens=16, seed=7))
    for prompt in prompts:
        assert _ids(sample(any_policy, [prompt], n=6, max_tokens=16, seed=7))[prompt.id] == together[prompt.id]
    for budget in (1, 60, 200):
        assert _ids(sample(any_policy, prompts[::-1], n=6, max_tokens=16, seed=7, token_budget=budget)) == together


def test_a_completion_does_not_depend_on_how_many_are_drawn(tiny_policy: Any) -> None:
    prompts = _prompts()
    eight = _ids(sample(tiny_policy, prompts, n=8, max_tokens=10, seed=3))
    two = _ids(sample(tiny_policy, prompts, n=2, max_tokens=10, seed=3))
    later = _ids(sample(tiny_policy, prompts, n=3, max_tokens=10, seed=3, first_index=5))
    for prompt in prompts:
        assert two[prompt.id] == eight[prompt.id][:2]
        assert later[prompt.id] == eight[prompt.id][5:]
        assert len(set(eight[prompt.id])) == 8
    assert _ids(sample(tiny_policy, prompts, n=2, max_tokens=10, seed=4)) != two


@pytest.mark.slow
def test_samples_follow_the_exact_softmax() -> None:
    policy = make_tiny_policy(vocab_size=8, seed=2, std=0.3)
    policy.tokenizer.eos_token = None
    policy.model.generation_config.eos_token_id = None
    prompt = SamplePrompt("only", (1, 2, 3))
    (group,) = sample(policy, [prompt], n=4000, max_tokens=2, seed=11, token_budget=10**9)
    pairs = np.zeros((8, 8))
    for completion in group.completions:
        pairs[completion.ids] += 1
    with torch.no_grad():
        first = policy.model(torch.tensor([prompt.ids])).logits[0, -1].softmax(-1)
        rows = torch.tensor([(*prompt.ids, token) for token in range(8)])
        second = policy.model(rows).logits[:, -1].softmax(-1)
    expected = (first[:, None] * second).double().numpy().ravel()
    keep = expected * 4000 >= 5
    observed = np.append(pairs.ravel()[keep], pairs.ravel()[~keep].sum())
    wanted = np.append(expected[keep], expected[~keep].sum()) * 4000
    assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 0.001


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"), [(1, 1, 0), (0.7, 1, 0), (1, 1, 3), (1, 0.6, 0), (2, 0.9, 4)]
)
def test_pick_inverts_the_filtered_distribution_function(temperature: float, top_p: float, top_k: int) -> None:
    logits = torch.tensor([1.0, -0.5, 2.0, 0.3, -3.0, 1.4], dtype=torch.float64)
    # a second road, in NumPy: filter by sorting
    law = np.exp(logits.numpy() / temperature)
    order = np.argsort(-law)
    if top_k:
        law[order[top_k:]] = 0
    law /= law.sum()
    if top_p < 1:
        n_kept = int(np.searchsorted(np.cumsum(law[order]), top_p) + 1)
        law[order[n_kept:]] = 0
        law /= law.sum()
    grid = (np.arange(20_000) + 0.5) / 20_000  # evenly spaced draws: shares are exact to 1/20000
    draws = torch.from_numpy(grid)
    tokens, logps = pick(logits.expand(len(grid), -1), draws, temperature=temperature, top_p=top_p, top_k=top_k)
    shares = np.bincount(tokens.numpy(), minlength=6) / len(grid)
    np.testing.assert_allclose(shares, law, atol=2e-4)
    torch.testing.assert_close(logps, logits.log_softmax(-1)[tokens])


def test_pick_never_takes_what_cannot_occur() -> None:
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]]).repeat(3, 1)
    tokens, _ = pick(logits, torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64), temperature=1, top_p=1, top_k=0)
    assert tokens.tolist() == [1, 2, 2]
    assert pick(logits, torch.zeros(3), temperature=0, top_p=1, top_k=0)[0].tolist() == [1, 1, 1]


@pytest.mark.slow
def test_completions_end_with_eos_or_at_the_limit_and_groups_are_told_once(tiny_policy: Any) -> None:
    with torch.no_grad():
        tiny_policy.model.lm_head.weight[256] = tiny_policy.model.lm_head.weight[:256].mean(0)
        tiny_policy.model.lm_head.weight.mul_(0.1)
        tiny_policy.model.lm_head.weight[256].mul_(1.0)
    told: list[Group] = []
    prompts = _prompts()
    groups = sample(tiny_policy, prompts, n=40, max_tokens=120, seed=1, on_group=told.append)
    assert sorted(g.prompt_id for g in told) == ["a", "b", "c", "d"]
    assert [g.prompt_id for g in groups] == ["a", "b", "c", "d"]
    completions = [c for g in groups for c in g.completions]
    assert {c.finished for c in completions} == {True, False}
    for completion in completions:
        assert 256 not in completion.ids[:-1]
        assert completion.finished == (completion.ids[-1] == 256)
        assert completion.finished or len(completion.ids) == 120
        assert "<|endoftext|>" not in completion.text
    scores = score_groups(
        tiny_policy,
        [PackItem(p.ids, tuple(c.ids for c in g.completions)) for p, g in zip(prompts, groups, strict=True)],
    )
    for group, row in zip(groups, scores, strict=True):  # leaving the batch does not disturb those who stay
        assert [c.logp_sum for c in group.completions] == pytest.approx(row, abs=1e-3, rel=1e-5)


def test_what_cannot_be_sampled_is_refused_before_any_work(tiny_policy: Any) -> None:
    prompt = SamplePrompt("long", (1,) * 1000)
    with pytest.raises(PromptTooLong, match="prompt long has 1000 tokens"):
        sample(tiny_policy, [prompt], n=1, max_tokens=100, seed=0)
    with pytest.raises(ValueError, match="ids must differ"):
        sample(tiny_policy, [SamplePrompt("a", (1,)), SamplePrompt("a", (2,))], n=1, max_tokens=1, seed=0)
    with pytest.raises(ValueError, match="temperature"):
        sample(tiny_policy, [SamplePrompt("a", (1,))], n=1, max_tokens=1, seed=0, temperature=-1)
    assert sample(tiny_policy, [], n=1, max_tokens=1, seed=0) == []
