"""RSO's sampler with its traps, ReST's thresholds, and the pairings of RSO, SLiC-HF and SPIN."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.config import ConfigError
from prefloop.recipes.filters import acceptance_probabilities, keep_above, rejection_sample, rising_thresholds
from prefloop.recipes.pairing import first_round, real_against_generated, tournament
from prefloop.types import Completion, Group, Pair

SCORES = st.lists(st.floats(-3, 3), min_size=1, max_size=12)
REFERENCE = (0.10, 0.20, 0.30, 0.25, 0.15)
REWARD = (0.0, 1.0, 0.5, 2.0, -1.0)


def group(
    scores: list[float], *, prompt_id: str = "p", texts: list[str] | None = None, sources: list[str] | None = None
) -> Group:
    names = texts or [f"answer {at}" for at in range(len(scores))]
    made = sources or [""] * len(names)
    return Group(
        prompt_id=prompt_id,
        completions=tuple(Completion(text=name, source=source) for name, source in zip(names, made, strict=True)),
        scores=tuple(scores),
    )


# --- rejection sampling


def test_the_chances_by_hand() -> None:
    assert acceptance_probabilities([0.0, 1.0, -1.0], beta=0.5) == pytest.approx((math.exp(-2), 1, math.exp(-4)))
    assert acceptance_probabilities([0.0, 1.0, 1.0], beta=0) == (0, 1, 1)
    assert acceptance_probabilities([0.0, 1.0], beta=math.inf) == (1, 1)
    assert acceptance_probabilities([], beta=1) == ()


def test_the_accepted_law_is_the_rlhf_optimum_and_the_rate_the_known_one() -> None:
    chances = acceptance_probabilities(REWARD, beta=0.5)
    accepted = [p * chance for p, chance in zip(REFERENCE, chances, strict=True)]
    assert sum(accepted) == pytest.approx(0.2942065539, abs=1e-9)
    wanted = (0.0062254354, 0.0920001825, 0.0507674636, 0.8497431370, 0.0012637816)
    assert [a / sum(accepted) for a in accepted] == pytest.approx(wanted, abs=1e-9)


def test_one_of_two_candidates_is_kept_by_the_enumerated_law() -> None:
    """With scores 0 and ln 2 / 2 at beta .5, keep 1: the worse has chance 1/2, and is met first half of the time."""
    kept = Counter(
        rejection_sample(group([0.0, math.log(2) / 2], prompt_id=f"p{n}"), beta=0.5, keep=1, seed=0).completions[0].text
        for n in range(4000)
    )
    # the worse first (1/2): accepted with 1/2; the better first: it always takes the place
    assert abs(kept["answer 0"] - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75)


def test_eight_of_sixty_four_fall_short_of_the_target_by_what_is_known() -> None:
    rng = random.Random(0)
    means = []
    with_best = 0
    for n in range(150):
        scores = [rng.gauss(0, 1) for _ in range(64)]
        kept = rejection_sample(group(scores, prompt_id=f"p{n}"), beta=0.5, keep=8, seed=1)
        assert kept.scores is not None
        with_best += max(scores) in kept.scores  # accepted wherever it is reached before eight are kept
        means.append(sum(kept.scores) / 8)
    assert with_best > 120
    assert sum(means) / len(means) == pytest.approx(1.34, abs=0.08)  # the target law's mean would be 2.0


def test_equal_texts_keep_their_multiplicity() -> None:
    kept = rejection_sample(group([1.0, 1.0, 1.0], texts=["same", "same", "same"]), beta=0.5, keep=2, seed=0)
    assert [completion.text for completion in kept.completions] == ["same", "same"]


def test_fewer_candidates_than_wanted_are_all_kept_and_none_is_no_error() -> None:
    few = group([0.0, 5.0])
    assert rejection_sample(few, beta=0.1, keep=8, seed=0) == few
    assert rejection_sample(group([]), beta=0.1, keep=8, seed=0).completions == ()


def test_at_beta_zero_the_best_are_kept() -> None:
    assert rejection_sample(group([0.0, 3.0, 1.0, 2.0]), beta=0.0, keep=2, seed=0).scores == (3.0, 2.0)


def test_what_comes_first_is_not_favoured() -> None:
    kept = Counter(
        rejection_sample(group([0.0] * 4, prompt_id=f"p{n}"), beta=0.5, keep=1, seed=0).completions[0].text
        for n in range(4000)
    )
    assert all(abs(count - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75) for count in kept.values())
    assert len(kept) == 4


@pytest.mark.slow
@given(SCORES, st.floats(0, 5), st.integers(1, 12), st.integers(0, 99), st.floats(-10, 10))
def test_what_is_kept_is_part_of_the_group_and_is_kept_again(
    scores: list[float], beta: float, keep: int, seed: int, shift: float
) -> None:
    whole = group(scores)
    kept = rejection_sample(whole, beta=beta, keep=keep, seed=seed)
    assert kept == rejection_sample(whole, beta=beta, keep=keep, seed=seed)
    assert len(kept.completions) == min(keep, len(scores))
    at = [whole.completions.index(completion) for completion in kept.completions]
    assert at == sorted(set(at))
    assert kept.scores == tuple(scores[index] for index in at)
    # rounding aside, only differences of scores matter
    chances = acceptance_probabilities([score + shift for score in scores], beta=beta or math.inf)
    assert chances == pytest.approx(acceptance_probabilities(scores, beta=beta or math.inf), rel=1e-6, abs=1e-6) or (
        beta < 1e-6
    )


@pytest.mark.parametrize(("beta", "keep"), [(-1.0, 1), (math.nan, 1), (1.0, 0)])
def test_settings_that_mean_nothing_are_refused(beta: float, keep: int) -> None:
    with pytest.raises(ConfigError):
        rejection_sample(group([0.0, 1.0]), beta=beta, keep=keep, seed=0)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ConfigError, match="finite"):
        rejection_sample(group([0.0, math.inf]), beta=1, keep=1, seed=0)


# --- ReST


def test_the_threshold_is_strict_and_may_leave_nothing() -> None:
    assert keep_above(group([0.7, 0.71, 2.0]), threshold=0.7).scores == (0.71, 2.0)
    assert keep_above(group([0.0]), threshold=0.7).completions == ()
    assert keep_above(group(list(REWARD)), threshold=0.7).scores == (1.0, 2.0)


def test_the_thresholds_are_quantiles_of_all_prompts_scores() -> None:
    groups = [group([0.0, 1.0]), group([2.0, 3.0, 4.0])]
    assert rising_thresholds(groups, quantiles=[0.0, 0.5, 0.625]) == pytest.approx((0, 2, 2.5))


@pytest.mark.slow
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.lists(st.floats(0, 0.99), min_size=1, unique=True))
def test_higher_thresholds_keep_subsets(scores: list[float], quantiles: list[float]) -> None:
    whole = group(scores)
    thresholds = rising_thresholds([whole], quantiles=sorted(quantiles))
    sizes = [len(keep_above(whole, threshold=threshold).completions) for threshold in thresholds]
    assert sizes == sorted(sizes, reverse=True)


def test_quantiles_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ConfigError, match="rise"):
        rising_thresholds([group([1.0])], quantiles=[0.5, 0.5])
    with pytest.raises(ConfigError, match="need scores"):
        rising_thresholds([], quantiles=[0.5])


# --- pairings


@given(st.lists(st.integers(-2, 2).map(float), min_size=0, max_size=9), st.integers(0, 99))
def test_the_first_round_is_disjoint_and_counts_its_ties(scores: list[float], seed: int) -> None:
    paired = first_round(group(scores), seed=seed)
    used = [at for pair in paired.pairs for at in (pair.i, pair.j)]
    assert len(used) == len(set(used))
    assert len(paired.pairs) + paired.n_ties == len(scores) // 2
    assert all(pair.i < pair.j and scores[pair.i] != scores[pair.j] for pair in paired.pairs)


def test_eight_make_four_pairs_or_a_tournament_of_seven() -> None:
    eight = group([float(at) for at in range(8)])
    assert len(first_round(eight, seed=0).pairs) == 4
    played = tournament(eight, seed=0)
    assert len(played.pairs) == 7
    assert {(pair.i, pair.j) for pair in played.pairs[:4]} == {(p.i, p.j) for p in first_round(eight, seed=0).pairs}
    assert {played.pairs[-1].i, played.pairs[-1].j} >= {7}  # the best plays the final and wins it
    assert played.pairs[-1].p == 0.0


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=11, unique=True), st.integers(0, 99))
def test_a_tournament_has_m_minus_one_games_and_only_the_best_never_loses(scores: list[float], seed: int) -> None:
    played = tournament(group(scores), seed=seed)
    assert len(played.pairs) == len(scores) - 1
    losers = [pair.j if pair.p else pair.i for pair in played.pairs]
    assert sorted([*losers, scores.index(max(scores))]) == list(range(len(scores)))
    asked = tournament(group([0.0] * len(scores)), seed=seed, better=lambda i, j: scores[i] > scores[j])
    assert asked == played  # a ranker that says what the scores say plays the same games


def test_ties_of_a_tournament_go_on_by_a_coin_and_are_counted() -> None:
    played = tournament(group([1.0, 1.0, 1.0, 0.0]), seed=3)
    assert len(played.pairs) + played.n_ties == 3
    assert all(pair.p is not None for pair in played.pairs)
    assert tournament(group([1.0, 2.0], texts=["same", "same"]), seed=0) == tournament(group([1.0, 1.0]), seed=0)


def test_the_datas_answer_beats_every_generated_one() -> None:
    mixed = group([0.0] * 4, sources=["previous", "data", "previous", "data"], texts=["a", "b", "c", "a"])
    paired = real_against_generated(mixed)
    assert paired.pairs == (Pair(0, 1, 0.0), Pair(1, 2, 1.0), Pair(2, 3, 0.0))
    assert paired.n_ties == 1  # "a" was generated word for word
    with pytest.raises(ConfigError, match="no completion from data"):
        real_against_generated(group([0.0], sources=["previous"]))
