"""Evaluation: a policy against the initial and the previous one, on every held-out prompt.

Each policy answers each prompt n times at the temperature given (1 is the policy itself). A win rate compares every
answer of one with every answer of the other on the same prompt (n² games, ties half), by the gold utility where the
world has one, else by the judge's scores. All intervals are bootstraps over prompts: the answers to one prompt rise
and fall together. KL is the mean over sequences of the sum over steps of the exact per-step KL (Rao-Blackwell), over
the policy's own answers, so it needs temperature 1 to be the policy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefloop.policy.batches import PackItem
from prefloop.policy.loading import Policy
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.scoring import step_kl
from prefloop.seeds import sampler_seed
from prefloop.stats.best_of_n import expected_best_of_n
from prefloop.stats.intervals import bootstrap_interval, ratio
from prefloop.stats.winrate import win_rate_by_prompt
from prefloop.types import Completion, Group, Interval, PromptContent

# Scores of the completions of many prompts at once: [(prompt, completions)] to a list of scores for each prompt.
Scorer = Callable[[Sequence[tuple[PromptContent, Sequence[Completion]]]], Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True)
class EvalPrompt:
    """A held-out prompt."""

    id: str
    prompt: PromptContent


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval (None where one prompt alone can't have one)."""

    mean: float
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is known of a policy; `kl` in nats, lengths in tokens (EOS included) and characters."""

    n_prompts: int
    n_samples: int
    win_rate_vs_initial: Estimate | None
    win_rate_vs_previous: Estimate | None
    kl: Estimate
    mean_tokens: Estimate
    mean_characters: Estimate
    gold: Estimate | None
    gold_best_of_4: float | None  # expected gold of the best of 4 by the judge (by gold itself without one)
    judge: Estimate | None
    samples: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class _Scored:
    groups: tuple[Group, ...]
    gold: list[list[float]] | None
    judge: list[list[float]] | None

    @property
    def comparer(self) -> list[list[float]] | None:
        return self.gold if self.gold is not None else self.judge


def evaluate(
    policy: Policy,
    initial: Policy,
    previous: Policy | None,
    prompts: Sequence[EvalPrompt],
    *,
    n: int = 4,
    temperature: float = 1.0,
    max_tokens: int = 128,
    seed: int,
    gold: Scorer | None = None,
    judge_scores: Scorer | None = None,
    cached: Mapping[str, Sequence[Group]] | None = None,
    n_bootstrap: int = 1000,
) -> Evaluation:
    """Measure `policy`; all policies draw with the same random numbers, so a policy against itself is exactly ½.

    `cached` holds answers drawn before with the same arguments, by the fingerprint of their policy (each evaluation
    returns its own as `samples`). Without gold and judge there are no win rates.
    """
    if not prompts:
        raise ValueError("an evaluation needs a prompt")
    encoded = {prompt.id: encode_prompt(policy.tokenizer, prompt.prompt) for prompt in prompts}
    seed_of_samples = sampler_seed(seed, "evaluation")

    def answers(of: Policy) -> _Scored:
        groups = (cached or {}).get(of.fingerprint) if of.fingerprint else None
        if groups is None:
            groups = sample(
                of,
                [SamplePrompt(prompt.id, encoded[prompt.id]) for prompt in prompts],
                n=n,
                temperature=temperature,
                max_tokens=max_tokens,
                seed=seed_of_samples,
            )
        by_id = {group.prompt_id: group for group in groups}
        ordered = tuple(by_id[prompt.id] for prompt in prompts)
        asked = [(prompt.prompt, group.completions) for prompt, group in zip(prompts, ordered, strict=True)]
        return _Scored(ordered, _scores(gold, asked), _scores(judge_scores, asked))

    ours = answers(policy)
    theirs = {id(other): answers(other) for other in (initial, previous) if other is not None}
    items = [
        PackItem(encoded[group.prompt_id], tuple(completion.ids for completion in group.completions))
        for group in ours.groups
    ]

    def estimate(values: Sequence[Sequence[float]]) -> Estimate:
        return mean_by_prompt(values, seed=seed, n_bootstrap=n_bootstrap)

    def against(other: Policy | None) -> Estimate | None:
        if other is None or ours.comparer is None:
            return None
        return win_rate(ours.comparer, theirs[id(other)].comparer or [], seed=seed, n_bootstrap=n_bootstrap)

    return Evaluation(
        n_prompts=len(prompts),
        n_samples=sum(len(group.completions) for group in ours.groups),
        win_rate_vs_initial=against(initial),
        win_rate_vs_previous=against(previous),
        kl=estimate(step_kl(policy, initial, items)),
        mean_tokens=estimate([[len(c.ids) for c in group.completions] for group in ours.groups]),
        mean_characters=estimate([[len(c.text) for c in group.completions] for group in ours.groups]),
        gold=estimate(ours.gold) if ours.gold is not None else None,
        gold_best_of_4=_best_of_4(ours),
        judge=estimate(ours.judge) if ours.judge is not None else None,
        samples=ours.groups,
    )


def win_rate(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], *, seed: int = 0, n_bootstrap: int = 1000
) -> Estimate:
    """Compare every score of ours with every one of theirs on the same prompt (ties half); clusters are prompts."""
    games: list[float] = []
    owners: list[int] = []
    for at, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        difference = np.asarray(mine)[:, None] - np.asarray(yours)[None, :]
        games += ((np.sign(difference) + 1) / 2).ravel().tolist()
        owners += [at] * difference.size
    found = win_rate_by_prompt(games, owners, n_bootstrap=n_bootstrap, seed=seed)
    if found.rate is None:
        raise ValueError("a win rate needs a game")
    return Estimate(found.rate, found.interval)


def mean_by_prompt(values: Sequence[Sequence[float]], *, seed: int = 0, n_bootstrap: int = 1000) -> Estimate:
    """Average over all values, with a bootstrap over the outer sequence."""
    sums = np.array([[float(np.sum(row)), float(len(row))] for row in values])
    interval = bootstrap_interval(sums, ratio, n_bootstrap=n_bootstrap, seed=seed) if len(sums) > 1 else None
    return Estimate(float(sums[:, 0].sum() / sums[:, 1].sum()), interval)


def _scores(
    scorer: Scorer | None, asked: Sequence[tuple[PromptContent, Sequence[Completion]]]
) -> list[list[float]] | None:
    if scorer is None:
        return None
    found = [[float(score) for score in row] for row in scorer(asked)]
    if [len(row) for row in found] != [len(completions) for _, completions in asked]:
        raise ValueError("a scorer must give every completion a score")
    return found


def _best_of_4(scored: _Scored) -> float | None:
    """Average over prompts the gold value of the best of 4, over all subsets of 4 of a prompt's answers."""
    if scored.gold is None:
        return None
    proxy: Sequence[Any] = scored.judge if scored.judge is not None else scored.gold
    best = [expected_best_of_n(x, v, min(4, len(v))) for x, v in zip(proxy, scored.gold, strict=True)]
    return float(np.mean(best))
