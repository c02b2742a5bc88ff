from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.recipes.self_instruct import filter_prompts, rouge_l

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=7)


def test_rouge_l_is_what_it_is_by_hand() -> None:
    # the longest common subsequence of the two is "police the gunman", 3 of 4 and 3 of 5 words
    assert rouge_l("police killed the gunman", "Police end the bad gunman!") == pytest.approx(2 * 3 / (4 + 5))
    assert rouge_l("one two", "three") == 0
    assert rouge_l("", "") == 0


@given(WORDS, WORDS)
def test_rouge_l_agrees_with_trying_every_subsequence(one: list[str], other: list[str]) -> None:
    def of(words: list[str]) -> set[tuple[str, ...]]:
        return {chosen for n in range(len(words) + 1) for chosen in combinations(words, n)}

    longest = max(len(chosen) for chosen in of(one) & of(other))
    expected = 2 * longest / (len(one) + len(other)) if longest else 0.0
    assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(expected)


@given(WORDS, WORDS)
def test_rouge_l_is_symmetric_and_one_only_for_the_same_words(one: list[str], other: list[str]) -> None:
    value = rouge_l(" ".join(one), " ".join(other))
    assert value == pytest.approx(rouge_l(" ".join(other), " ".join(one)))
    assert (value == 1) == (one == other and bool(one))


def test_each_filter_refuses_what_it_is_for_and_counts_it() -> None:
    pool = ["Write a thank-you note to Maria about the flowers."]
    made = filter_prompts(
        [
            "Write a thank-you note to Maria about the lamp.",  # one word of ten differs
            "Say hello.",
            "Draw the house of your neighbours please.",
            "Ask your neighbour whether she slept well.",
            "Ask your neighbour whether he slept well.",  # like one that was just kept
            "word " * 151,
        ],
        pool,
    )
    assert made.kept == ("Ask your neighbour whether she slept well.",)
    assert made.n_refused == {"alike": 2, "keyword": 1, "length": 2}
    strict = filter_prompts(pool, ["Something else entirely was asked for here."], most_alike=0.01, shortest=1)
    assert strict.kept == tuple(pool)
