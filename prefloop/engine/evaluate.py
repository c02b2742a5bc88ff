"""Evaluation: a policy against the initial and the previous one, on held-out prompts.

Each policy answers each prompt n times at the given temperature (1 is the policy itself). Answers with the same number
use the same random numbers in every policy: two such answers are similar and would bias a win rate. So if the truth is
known, it compares every answer of one policy with every answer of the other on the same prompt except the one with its
own number (n (n - 1) games, ties half). If it is not, a judge is asked about `pairs_to_judge`: each answer once. All
intervals are over prompts, since the answers to one prompt are correlated. KL is the mean over sequences of the sum
over steps of the exact per-step KL (Rao-Blackwell), over the policy's own answers, so it needs temperature 1 to be the
policy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prefloop.policy.batches import PackItem
from prefloop.policy.loading import Policy
from prefloop.policy.prompts import encode_named
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.scoring import step_kl
from prefloop.seeds import sampler_seed
from prefloop.stats.best_of_n import expected_best_of_n
from prefloop.stats.head_to_head import HeadToHead, against_itself, games_of_scores, head_to_head
from prefloop.stats.intervals import mean_interval
from prefloop.types import Completion, Group, Interval, PromptContent

# Scores of the completions of many prompts at once: [(prompt, completions)] to a list of scores for each prompt.
Scorer = Callable[[Sequence[tuple[PromptContent, Sequence[Completion]]]], Sequence[Sequence[float]]]

# The KL in nats of each completion of each item: as `step_kl`.
MeasureKL = Callable[[Policy, Policy, Sequence[PackItem]], list[list[float]]]


@dataclass(frozen=True, slots=True)
class EvalPrompt:
    """A held-out prompt."""

    id: str
    prompt: PromptContent


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval (None with only one prompt)."""

    mean: float
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measurements of a policy; `kl` in nats, lengths in tokens (EOS included) and characters."""

    n_prompts: int
    n_samples: int
    vs_initial: HeadToHead | None  # None: nobody knows the truth
    vs_previous: HeadToHead | None
    kl: Estimate
    mean_tokens: Estimate
    mean_characters: Estimate
    gold: Estimate | None
    gold_best_of_4: float | None  # expected gold of the best of 4
    samples: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class _Scored:
    groups: tuple[Group, ...]
    gold: list[list[float]] | None

    @property
    def lengths(self) -> list[list[int]]:
        return [[len(completion.text) for completion in group.completions] for group in self.groups]


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
    cached: Mapping[str, Sequence[Group]] | None = None,
    measure_kl: MeasureKL = step_kl,
) -> Evaluation:
    """Measure `policy`; all policies sample with the same random numbers, so a policy against itself is exactly ½.

    A win rate needs two answers per prompt (`n`), since answers with the same number are not compared.

    `cached` holds answers sampled before with the same arguments, by the fingerprint of their policy (each evaluation
    returns its own as `samples`). Without gold there are no win rates. `measure_kl` may compute the KL in pieces; a
    policy against itself needs none.
    """
    if not prompts:
        raise ValueError("an evaluation needs a prompt")
    encoded = encode_named(policy.tokenizer, [(prompt.id, prompt.prompt) for prompt in prompts])
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
        return _Scored(ordered, _scores(gold, asked))

    ours = answers(policy)
    theirs = {id(other): answers(other) for other in (initial, previous) if other is not None}
    items = [
        PackItem(encoded[group.prompt_id], tuple(completion.ids for completion in group.completions))
        for group in ours.groups
    ]

    same = policy is initial or (policy.fingerprint != "" and policy.fingerprint == initial.fingerprint)

    def against(other: Policy | None) -> HeadToHead | None:
        if other is None or ours.gold is None:
            return None
        yours = theirs[id(other)]
        return win_rate(ours.gold, yours.gold or [], lengths=(ours.lengths, yours.lengths), same_draws=True)

    return Evaluation(
        n_prompts=len(prompts),
        n_samples=sum(len(group.completions) for group in ours.groups),
        vs_initial=against(initial),
        vs_previous=against(previous),
        kl=mean_by_prompt(
            [[0.0] * len(item.completions) for item in items] if same else measure_kl(policy, initial, items)
        ),
        mean_tokens=mean_by_prompt([[len(c.ids) for c in group.completions] for group in ours.groups]),
        mean_characters=mean_by_prompt(ours.lengths),
        gold=mean_by_prompt(ours.gold) if ours.gold is not None else None,
        gold_best_of_4=_best_of_4(ours),
        samples=ours.groups,
    )


def win_rate(
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    *,
    lengths: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]] | None = None,
    same_draws: bool = False,
) -> HeadToHead:
    """Compare every score of ours with every one of theirs on the same prompt, also at equal lengths (characters).

    `same_draws`: answers with the same number share their random numbers, and are not compared. Raises ValueError
    without a game.
    """
    games = games_of_scores(ours, theirs, lengths=lengths, same_draws=same_draws)
    if not games:
        raise ValueError("a win rate needs a game: two answers per prompt where they share their random numbers")
    if same_draws and [list(row) for row in ours] == [list(row) for row in theirs]:
        return against_itself(len(games), len({game.prompt for game in games}))
    return head_to_head(games)


def pairs_to_judge(n: int) -> list[tuple[int, int]]:
    """Choose which of our n answers to a prompt a judge compares with which of theirs: each once, none with the same
    number.
    """
    return [(at, (at + 1) % n) for at in range(n)] if n > 1 else []


def mean_by_prompt(values: Sequence[Sequence[float]]) -> Estimate:
    """Average over all values, with an interval over the outer sequence."""
    sums, n = np.array([float(np.sum(row)) for row in values]), np.array([len(row) for row in values])
    return Estimate(float(sums.sum() / n.sum()), mean_interval(sums, n))


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
    return float(np.mean([expected_best_of_n(values, values, min(4, len(values))) for values in scored.gold]))
