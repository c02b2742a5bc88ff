from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.engine.evaluate import EvalPrompt, evaluate, mean_by_prompt, pairs_to_judge, win_rate
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.scoring import score_groups, step_kl
from prefloop.policy.tiny import tiny_policy
from prefloop.types import Completion
from tests.prefloop.tiny import uniform_policy

PROMPTS = [EvalPrompt(f"p{at}", f"Say {at}.") for at in range(6)]
SCORES = st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=4)


def lengths(asked: Sequence[tuple[str, Sequence[Completion]]]) -> list[list[float]]:
    """A world that likes long answers."""
    return [[float(len(c.ids)) for c in completions] for _, completions in asked]


def rate(ours: list[list[float]], theirs: list[list[float]], *, same_draws: bool = False) -> float:
    found = win_rate(ours, theirs, same_draws=same_draws).win_rate.rate
    assert found is not None
    return found


def test_a_win_rate_counts_every_pair_of_answers_and_ties_half() -> None:
    # p1: 3 beats 1 and 2; 0 loses to both: 2 of 4. p2: 1 ties 1: half of 1.
    assert win_rate([[3.0, 0.0], [1.0]], [[1.0, 2.0], [1.0]]).win_rate.rate == pytest.approx((2 + 0.5) / 5)


@pytest.mark.slow
@given(ours=st.lists(SCORES, min_size=1, max_size=4), theirs=st.lists(SCORES, min_size=1, max_size=4))
def test_what_one_side_wins_the_other_loses(ours: list[list[float]], theirs: list[list[float]]) -> None:
    n = min(len(ours), len(theirs))
    one, other = rate(ours[:n], theirs[:n]), rate(theirs[:n], ours[:n])
    assert one + other == pytest.approx(1.0)
    games = [(a > b) + (a == b) / 2 for x, y in zip(ours, theirs, strict=False) for a, b in itertools.product(x, y)]
    assert one == pytest.approx(sum(games) / len(games))


def test_the_interval_of_a_mean_is_wider_when_a_prompts_answers_agree() -> None:
    together = mean_by_prompt([[1.0] * 4] * 10 + [[0.0] * 4] * 10)
    apart = mean_by_prompt([[1.0, 0.0, 1.0, 0.0]] * 20)
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
    assert found.vs_initial is not None
    assert found.vs_initial.win_rate.rate == found.vs_initial.length_controlled.rate == 0.5
    assert found.vs_previous == found.vs_initial
    assert found.kl.mean == pytest.approx(0.0, abs=1e-6)
    assert (found.n_prompts, found.n_samples) == (6, 24)


@pytest.mark.slow
def test_a_win_rate_is_not_pulled_by_random_numbers_that_both_policies_share() -> None:
    """Exact by hand: two policies of two answers, each answer the threshold of a random number that both see."""
    rng = random.Random(0)
    found, plain = [], []
    for _ in range(4000):
        shared = [rng.random() for _ in range(4)]  # one number an answer
        ours, theirs = [float(u < 0.7) for u in shared], [float(u < 0.5) for u in shared]
        found.append(rate([ours], [theirs], same_draws=True))
        plain.append(rate([ours], [theirs]))
    truth = 0.7 * 0.5 + (0.7 * 0.5 + 0.3 * 0.5) / 2  # of answers drawn apart: wins, and half of the ties
    error = statistics.stdev(found) / math.sqrt(len(found))
    assert abs(statistics.fmean(found) - truth) < 3.5 * error
    # where quality goes by which number was drawn, the same games would be counted as alike and lean
    lean = []
    for _ in range(4000):
        shared = [rng.random() for _ in range(4)]
        lean.append(
            rate([[u + 0.1 for u in shared]], [shared], same_draws=True) - rate([[u + 0.1 for u in shared]], [shared])
        )
    assert statistics.fmean(lean) < -0.05  # i = i is always won: what was counted too much
    with pytest.raises(ValueError, match="two answers per prompt"):
        win_rate([[1.0]], [[0.0]], same_draws=True)


@pytest.mark.slow
def test_an_evaluation_does_not_compare_answers_of_one_number() -> None:
    policy, initial = tiny_policy(seed=1, std=0.3), tiny_policy(seed=2, std=0.3)
    found = evaluate(policy, initial, None, PROMPTS, max_tokens=12, seed=0, gold=lengths)
    theirs = evaluate(initial, initial, None, PROMPTS, max_tokens=12, seed=0, gold=lengths).samples
    games = [
        (len(a.ids) > len(b.ids)) + (len(a.ids) == len(b.ids)) / 2
        for ours, other in zip(found.samples, theirs, strict=True)
        for i, a in enumerate(ours.completions)
        for j, b in enumerate(other.completions)
        if i != j
    ]
    assert len(games) == 6 * 4 * 3
    assert found.vs_initial is not None
    assert found.vs_initial.win_rate.rate == pytest.approx(sum(games) / len(games))


@pytest.mark.slow
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


def test_gold_lengths_and_best_of_4_are_those_of_the_returned_samples() -> None:
    policy, initial = tiny_policy(seed=1, std=0.3), tiny_policy(seed=2, std=0.3)
    found = evaluate(policy, initial, None, PROMPTS, max_tokens=12, seed=0, gold=lengths)
    tokens = [[len(c.ids) for c in group.completions] for group in found.samples]
    mean = sum(map(sum, tokens)) / 24
    assert found.gold is not None
    assert (found.gold.mean, found.mean_tokens.mean) == pytest.approx((mean, mean))
    assert found.gold_best_of_4 == pytest.approx(sum(max(row) for row in tokens) / 6)
    assert found.vs_previous is None
    characters = [len(c.text) for group in found.samples for c in group.completions]
    assert found.mean_characters.mean == pytest.approx(sum(characters) / 24)


@pytest.mark.slow
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


@pytest.mark.slow
def test_win_rates_need_a_truth_and_are_told_at_equal_lengths_too() -> None:
    policy, initial = tiny_policy(seed=1, std=0.3), tiny_policy(seed=2, std=0.3)

    def ends(asked: Sequence[tuple[str, Sequence[Completion]]]) -> list[list[float]]:
        return [[float(sum(map(ord, c.text)) % 7) for c in completions] for _, completions in asked]

    found = evaluate(policy, initial, initial, PROMPTS, max_tokens=12, seed=0, gold=ends)
    assert found.vs_initial is not None
    assert found.vs_previous == found.vs_initial
    assert found.vs_initial.length_controlled.rate is not None
    assert found.vs_initial.length_controlled.rate != found.vs_initial.win_rate.rate
    bare = evaluate(policy, initial, initial, PROMPTS, max_tokens=12, seed=0)
    assert (bare.vs_initial, bare.vs_previous, bare.gold) == (None, None, None)
    assert bare.kl == found.kl


@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_judge_sees_each_answer_once_and_none_beside_its_twin(n: int) -> None:
    pairs = pairs_to_judge(n)
    assert sorted(i for i, _ in pairs) == sorted(j for _, j in pairs) == list(range(n))
    assert all(i != j for i, j in pairs)
    assert pairs_to_judge(1) == []


@pytest.mark.slow
def test_the_kl_is_over_the_answers_of_the_policy_that_is_measured() -> None:
    policy, initial = tiny_policy(seed=1, std=0.3), tiny_policy(seed=2, std=0.3)
    found = evaluate(policy, initial, None, PROMPTS, max_tokens=6, seed=0)
    theirs = evaluate(initial, initial, None, PROMPTS, max_tokens=6, seed=0)

    def mean_kl(groups: Sequence[object]) -> float:
        ids = {prompt.id: encode_prompt(policy.tokenizer, prompt.prompt) for prompt in PROMPTS}
        items = [PackItem(ids[one.prompt_id], tuple(c.ids for c in one.completions)) for one in groups]  # type: ignore[attr-defined]
        values = step_kl(policy, initial, items)
        return sum(map(sum, values)) / sum(map(len, values))

    assert found.kl.mean == pytest.approx(mean_kl(found.samples), rel=1e-5)
    assert found.kl.mean != pytest.approx(mean_kl(theirs.samples), rel=1e-3)
