from __future__ import annotations

import random
from collections import Counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.config import ConfigError
from prefloop.recipes.filters import apply_filter
from prefloop.recipes.labelling import as_trained, label_by_scores
from prefloop.recipes.pairing import make_pairs
from prefloop.recipes.recipe import Filter, Label, Pairing
from prefloop.types import Completion, Group, Pair

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=7)


def group(scores: list[float] | None, *, prompt_id: str = "p", texts: list[str] | None = None) -> Group:
    names = texts or [f"answer {at}" for at in range(len(scores or []))]
    return Group(
        prompt_id=prompt_id,
        completions=tuple(Completion(text=name) for name in names),
        scores=None if scores is None else tuple(scores),
    )


def test_the_best_of_n_is_the_one_with_the_highest_score() -> None:
    kept = apply_filter(Filter(kind="best"), group([0.1, 2.0, -1.0]), seed=0)
    assert [c.text for c in kept.completions] == ["answer 1"]
    assert kept.scores == (2.0,)


def test_the_best_filter_breaks_ties_evenly_and_not_by_position() -> None:
    kept = Counter(
        apply_filter(Filter(kind="best"), group([1.0, 1.0, 0.0], prompt_id=f"p{n}"), seed=0).completions[0].text
        for n in range(2000)
    )
    assert set(kept) == {"answer 0", "answer 1"}
    assert abs(kept["answer 0"] - 1000) < 4 * 500**0.5  # four standard deviations of a fair coin


def test_a_filter_that_needs_scores_says_so() -> None:
    with pytest.raises(ConfigError, match="prompt p have no scores"):
        apply_filter(Filter(kind="best"), group(None, texts=["a"]), seed=0)


def test_the_filter_all_keeps_all() -> None:
    everything = group([1.0, 2.0])
    assert apply_filter(Filter(), everything, seed=0) is everything


def test_best_against_worst_is_canonical_whichever_comes_first() -> None:
    settings = Pairing(kind="best-against-worst")
    assert make_pairs(settings, group([0.0, 3.0, -2.0]), seed=0).pairs == (Pair(1, 2),)
    assert make_pairs(settings, group([-2.0, 0.0, 3.0]), seed=0).pairs == (Pair(0, 2),)


def test_all_equal_scores_make_no_pair_and_are_counted() -> None:
    paired = make_pairs(Pairing(kind="best-against-worst"), group([1.0, 1.0, 1.0]), seed=0)
    assert (paired.pairs, paired.n_ties) == ((), 1)


def test_two_equal_texts_make_no_pair_even_where_a_noisy_scorer_tells_them_apart() -> None:
    paired = make_pairs(Pairing(kind="best-against-worst"), group([1.0, 2.0], texts=["same", "same"]), seed=0)
    assert (paired.pairs, paired.n_ties) == ((), 1)


@given(scores=SCORES, seed=st.integers(0, 100))
def test_best_against_worst_takes_a_highest_and_a_lowest(scores: list[float], seed: int) -> None:
    paired = make_pairs(Pairing(kind="best-against-worst"), group(scores), seed=seed)
    if len(set(scores)) == 1:
        assert paired.pairs == ()
    else:
        (pair,) = paired.pairs
        assert {scores[pair.i], scores[pair.j]} == {max(scores), min(scores)}
        assert pair.i < pair.j


@pytest.mark.slow
@given(scores=SCORES)
def test_all_ranked_makes_every_pair_once_or_counts_it_as_a_tie(scores: list[float]) -> None:
    paired = make_pairs(Pairing(kind="all-ranked"), group(scores), seed=0)
    n = len(scores)
    assert len(paired.pairs) + paired.n_ties == n * (n - 1) // 2
    assert len(set(paired.pairs)) == len(paired.pairs)
    assert all(pair.i < pair.j and scores[pair.i] != scores[pair.j] for pair in paired.pairs)


def test_the_two_takes_two_and_no_other_number() -> None:
    assert make_pairs(Pairing(kind="the-two"), group(None, texts=["a", "b"]), seed=0).pairs == (Pair(0, 1),)
    with pytest.raises(ConfigError, match="has 3 completions, but the pairing needs two"):
        make_pairs(Pairing(kind="the-two"), group([1.0, 2.0, 3.0]), seed=0)


def test_given_pairs_are_taken_in_canonical_order_with_their_labels_turned() -> None:
    paired = make_pairs(Pairing(kind="as-given"), group([0.0] * 3), seed=0, given=[Pair(2, 0, 0.75), Pair(0, 1)])
    assert paired.pairs[0] == Pair(0, 2, 0.25)
    assert paired.pairs[1] == Pair(0, 1)
    assert make_pairs(Pairing(kind="none"), group([1.0, 2.0]), seed=0).pairs == ()


def test_a_soft_label_is_the_logistic_of_the_difference() -> None:
    (pair,) = label_by_scores(Label(by="scores", labels="soft"), group([1.0, 0.0]), [Pair(0, 1)], seed=0)
    assert pair.p == pytest.approx(0.7310585786300049)  # 1 / (1 + 1/e)
    (far,) = label_by_scores(Label(by="scores", labels="soft"), group([0.0, 2000.0]), [Pair(0, 1)], seed=0)
    assert far.p == 0.0


def test_a_hard_label_is_certain_and_a_tie_is_a_half() -> None:
    hard = Label(by="scores", labels="hard")
    labelled = label_by_scores(hard, group([1.0, 0.0, 1.0]), [Pair(0, 1), Pair(1, 2), Pair(0, 2)], seed=0)
    assert [pair.p for pair in labelled] == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(("p", "hard", "soft"), [(0.5, 0.5, 0.5), (0.7, 1.0, 0.7), (0.2, 0.0, 0.2), (1.0, 1.0, 1.0)])
def test_a_hard_label_takes_the_likelier_side_and_a_tie_stays_one_half(p: float, hard: float, soft: float) -> None:
    kinds: tuple[Literal["hard", "soft"], ...] = ("hard", "soft")
    trained = [as_trained(Label(by="judge", labels=kind), p, rng=random.Random(0)) for kind in kinds]
    assert trained == [hard, soft]


def test_sampled_labels_occur_as_often_as_the_soft_label_says() -> None:
    sampled = Label(by="scores", labels="sampled")
    ps = [label_by_scores(sampled, group([1.0, 0.0], prompt_id=str(n)), [Pair(0, 1)], seed=1)[0].p for n in range(4000)]
    assert set(ps) == {0.0, 1.0}
    assert abs(sum(p for p in ps if p) / 4000 - 0.73106) < 4 * (0.73106 * 0.26894 / 4000) ** 0.5


@pytest.mark.slow
def test_label_noise_turns_its_share_of_labels_round_the_same_ones_again() -> None:
    noisy = Label(by="scores", noise=0.25)
    groups = [group([1.0, 0.0], prompt_id=str(n)) for n in range(4000)]
    first, again = ([label_by_scores(noisy, g, [Pair(0, 1)], seed=5)[0].p for g in groups] for _ in range(2))
    assert first == again
    assert abs(first.count(0.0) / 4000 - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


@pytest.mark.parametrize("kind", ["the-two", "best-against-worst", "first-round", "tournament", "all-ranked"])
@given(n=st.integers(2, 12), seed=st.integers(0, 2**32 - 1))
def test_as_many_pairs_are_made_as_is_said_where_all_scores_differ(kind: str, n: int, seed: int) -> None:
    n = 2 if kind == "the-two" else n
    settings = Pairing(kind=kind)
    scores = random.Random(seed).sample(range(100), n)
    assert len(make_pairs(settings, group([float(score) for score in scores]), seed=seed).pairs) == settings.n_pairs(n)


@given(n=st.integers(1, 12), keep=st.integers(1, 12), kind=st.sampled_from(["all", "best", "rejection"]))
def test_as_many_answers_stay_as_is_said(n: int, keep: int, kind: str) -> None:
    settings = Filter(kind=kind, keep=keep)
    kept = apply_filter(settings, group([float(score) for score in range(n)]), seed=1)
    assert len(kept.completions) == settings.n_kept(n)
