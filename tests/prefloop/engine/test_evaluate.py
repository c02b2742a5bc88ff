from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.engine.evaluate import EvalPrompt, evaluate, mean_by_prompt, win_rate
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.scoring import score_groups
from prefloop.policy.tiny import tiny_policy, uniform_policy
from prefloop.types import Completion

PROMPTS = [EvalPrompt(f"p{at}", f"Say {at}.") for at in range(6)]
SCORES = st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=4)


def lengths(asked: Sequence[tuple[str, Sequence[Completion]]]) -> list[list[float]]:
    """A world that likes long answers."""
    return [[float(len(c.ids)) for c in completions] for _, completions in asked]


def test_a_win_rate_counts_every_pair_of_answers_and_ties_half() -> None:
    # p1: 3 beats 1 and 2; 0 loses to both: 2 of 4. p2: 1 ties 1: half of 1.
    assert win_rate([[3.0, 0.0], [1.0]], [[1.0, 2.0], [1.0]]).mean == pytest.approx((2 + 0.5) / 5)


@given(ours=st.lists(SCORES, min_size=1, max_size=4), theirs=st.lists(SCORES, min_size=1, max_size=4))
def test_what_one_side_wins_the_other_loses(ours: list[list[float]], theirs: list[list[float]]) -> None:
    n = min(len(ours), len(theirs))
    one, other = win_rate(ours[:n], theirs[:n]).mean, win_rate(theirs[:n], ours[:n]).mean
    assert one + other == pytest.approx(1.0)
    games = [(a > b) + (a == b) / 2 for x, y in zip(ours, theirs, strict=False) for a, b in itertools.product(x, y)]
    assert one == pytest.approx(sum(games) / len(games))


def test_the_interval_of_a_mean_is_wider_when_a_prompts_answers_agree() -> None:
    together = mean_by_prompt([[1.0] * 4] * 10 + [[0.0] * 4] * 10, seed=0)
    apart = mean_by_prompt([[1.0, 0.0, 1.0, 0.0]] * 20, seed=0)
    assert together.mean == apart.mean == 0.5
    assert together.ci95 is not None
    assert apart.ci95 is not None
    assert apart.ci95.high - apart.ci95.low == 0.0
    # 20 independent prompts of 0 or 1: the standard error of the mean is 0.5 / sqrt(20)
    assert together.ci95.high - together.ci95.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(20), rel=0.2)
    assert mean_by_prompt([[1.0, 2.0]]).ci95 is None


def test_a_policy_against_itself_wins_exactly_half_at_no_distance() -> None:
    policy = tiny_policy(seed=1, std=0.3)
    found = evaluate(policy, policy, policy, PROMPTS, max_tokens=12, seed=0, gold=lengths)
    assert found.win_rate_vs_initial is not None
    assert found.win_rate_vs_initial.mean == 0.5
    assert found.win_rate_vs_previous == found.win_rate_vs_initial
    assert found.kl.mean == pytest.approx(0.0, abs=1e-6)
    assert (found.n_prompts, found.n_samples) == (6, 24)


def test_the_kl_agrees_with_the_mean_log_ratio_of_many_samples() -> None:
    policy, reference = tiny_policy(seed=1, std=0.12), uniform_policy()
    found = evaluate(policy, reference, None, PROMPTS[:2], n=400, max_tokens=3, seed=0)
    ratios = []
    for group, prompt in zip(found.samples, PROMPTS, strict=False):
        item = PackItem(encode_prompt(policy.tokenizer, prompt.prompt), tuple(c.ids for c in group.completions))
        (ours,), (theirs,) = score_groups(policy, [item]), score_groups(reference, [item])
        ratios += [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = sum(ratios) / len(ratios)
    error = math.sqrt(sum((r - mean) ** 2 for r in ratios) / len(ratios) ** 2)
    assert abs(found.kl.mean - mean) < 4 * error
    assert found.kl.mean > 0


def test_gold_judge_lengths_and_best_of_4_are_those_of_the_returned_samples() -> None:
    policy, initial = tiny_policy(seed=1, std=0.3), tiny_policy(seed=2, std=0.3)

    def shortness(asked: Sequence[tuple[str, Sequence[Completion]]]) -> list[list[float]]:
        return [[-value for value in row] for row in lengths(asked)]

    found = evaluate(policy, initial, None, PROMPTS, max_tokens=12, seed=0, gold=lengths, judge_scores=shortness)
    tokens = [[len(c.ids) for c in group.completions] for group in found.samples]
    mean = sum(map(sum, tokens)) / 24
    assert found.gold is not None
    assert found.judge is not None
    assert (found.gold.mean, found.judge.mean, found.mean_tokens.mean) == pytest.approx((mean, -mean, mean))
    assert found.gold_best_of_4 == pytest.approx(sum(min(row) for row in tokens) / 6)  # a judge that is all wrong
    assert found.win_rate_vs_previous is None
    characters = [len(c.text) for group in found.samples for c in group.completions]
    assert found.mean_characters.mean == pytest.approx(sum(characters) / 24)


def test_samples_kept_from_before_give_the_same_numbers() -> None:
    policy, initial = tiny_policy(seed=1, std=0.3), tiny_policy(seed=2, std=0.3)
    base = evaluate(initial, initial, None, PROMPTS, max_tokens=8, seed=0, gold=lengths)
    fresh = evaluate(policy, initial, None, PROMPTS, max_tokens=8, seed=0, gold=lengths)
    cached = evaluate(
        policy, initial, None, PROMPTS, max_tokens=8, seed=0, gold=lengths, cached={initial.fingerprint: base.samples}
    )
    assert cached == fresh


def test_a_scorer_that_leaves_completions_out_is_refused() -> None:
    policy = tiny_policy(seed=1)
    with pytest.raises(ValueError, match="must give every completion a score"):
        evaluate(policy, policy, None, PROMPTS, max_tokens=2, seed=0, gold=lambda asked: [[1.0] for _ in asked])
