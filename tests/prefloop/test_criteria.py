"""Criteria as text: names, questions, and weightings of several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.criteria import (
    LONGEST_NAME,
    PRESETS,
    BadCriterion,
    Criterion,
    criteria_read,
    criteria_written,
    name_checked,
    weighted,
    weights_read,
)

NAMES = st.from_regex(r"[a-z0-9]+([-_][a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) <= LONGEST_NAME)


def test_what_is_written_is_read_again() -> None:
    for preset in PRESETS.values():
        assert criteria_read(criteria_written(preset)) == preset
    assert criteria_read("\n  a:  Is it: so?  \n") == (Criterion("a", "Is it: so?"),)
    assert criteria_read("") == ()


@pytest.mark.slow
@given(st.dictionaries(NAMES, st.integers(1, 100), min_size=2, max_size=6))
def test_a_weighting_is_read_with_the_sum_1_in_its_order(weights: dict[str, int]) -> None:
    found = weights_read(",".join(f"{name}={n}" for name, n in weights.items()))
    assert list(found) == list(weights)
    assert sum(found.values()) == pytest.approx(1.0)
    first, second = list(weights)[:2]
    assert found[first] / found[second] == pytest.approx(weights[first] / weights[second])


def test_one_name_is_a_weighting_of_itself_and_no_text_the_unnamed_one() -> None:
    assert weights_read("helpful") == {"helpful": 1.0}
    assert weights_read("") == {"": 1.0}
    assert weights_read(" a , b = 3 ") == {"a": 0.25, "b": 0.75}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a=0,b=1", "weight of 'a' must be above 0"),
        ("a=-1,b=1", "must be above 0"),
        ("a=nan,b=1", "must be above 0"),
        ("a=inf,b=1", "must be above 0"),
        ("a=much,b=1", "must be a number, not 'much'"),
        ("a=1,a=2", "names 'a' twice"),
        ("=1", "write a weighting as"),
        ("a,,b", "write a weighting as"),
        ("A=1,b=1", "is no name of a criterion"),
        ("very helpful", "is no name of a criterion"),
    ],
)
def test_what_is_no_weighting_is_refused_in_one_sentence(text: str, why: str) -> None:
    with pytest.raises(BadCriterion, match=why) as refused:
        weights_read(text)
    assert "\n" not in str(refused.value)


def test_a_mean_needs_every_one_of_its_criteria() -> None:
    weights = weights_read("a=3,b=1")
    assert weighted(weights, {"a": 1.0, "b": 0.0, "c": 0.0}) == pytest.approx(0.75)
    assert weighted(weights, {"a": 1.0}) is None


@pytest.mark.parametrize("text", ["a=0.6,b=0.3,c=0.1", "a=1,b=6,c=0.1", "a=2,b=4,c=3,d=1"])
def test_a_mean_of_what_all_are_sure_of_is_a_probability(text: str) -> None:
    weights = weights_read(text)
    assert 1 - 1e-12 < weighted(weights, dict.fromkeys(weights, 1.0)) <= 1
    assert weighted(weights, dict.fromkeys(weights, 0.0)) == 0


@pytest.mark.slow
@given(NAMES)
def test_a_name_that_is_taken_can_be_weighed(name: str) -> None:
    assert name_checked(name) == name
    assert weights_read(name) == {name: 1.0}
