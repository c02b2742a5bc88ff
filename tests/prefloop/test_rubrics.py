"""Rubrics: how they are written and read, what is refused, and what a rating's values come to."""

from __future__ import annotations

import pytest

from prefloop.rubrics import (
    BadRubric,
    Item,
    rubric_for,
    rubric_loaded,
    rubric_of_prompt,
    rubric_read,
    rubric_stored,
    rubric_written,
    total,
    values_checked,
)

TEXT = """
correct: Is everything that it says true?
polite (yes/no): Does it greet and thank?
short (yes/no, weight 2): Has it fewer than a hundred words: yes?
"""
CORRECT = Item("correct", "Is everything that it says true?")
POLITE = Item("polite", "Does it greet and thank?", "yes/no")
SHORT = Item("short", "Has it fewer than a hundred words: yes?", "yes/no", 2.0)
RUBRIC = (CORRECT, POLITE, SHORT)


def test_a_rubric_is_read_as_it_was_written_in_every_form():
    assert rubric_read(TEXT) == RUBRIC
    assert rubric_read(rubric_written(RUBRIC)) == RUBRIC
    assert rubric_loaded(rubric_stored(RUBRIC)) == RUBRIC
    assert rubric_read(rubric_written([Item("fair", "Is it?", weight=1 / 3)])) == (
        Item("fair", "Is it?", weight=1 / 3),
    )
    assert rubric_read("fair (1-5, weight 0.5): Is it?") == (Item("fair", "Is it?", "1-5", 0.5),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no question", "write each item as"),
        ("polite:", "write each item as"),
        ("Polite: Is it?", "is no name of an item"),
        ("polite (1-7): Is it?", "in brackets an item has"),
        ("polite (weight none): Is it?", "must be a number above 0"),
        ("polite (weight -1): Is it?", "must be a number above 0"),
        ("polite (weight nan): Is it?", "must be a number above 0"),
        ("a: x\nb: y\na: z", "stands there twice"),
        ("\n".join(f"item-{n}: x" for n in range(13)), "at most 12 items"),
        (f"a: {'x' * 301}", "more than 300 characters"),
    ],
)
def test_what_is_no_rubric_is_refused_in_one_sentence(text, why):
    with pytest.raises(BadRubric, match=why) as error:
        rubric_read(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "polite: Is it?",
        {"polite": "Is it?"},
        [3],
        [{"name": "a"}],
        [{"name": "a", "question": "b", "points": 3}],
        [{"name": "a", "question": "b", "kind": "1-7"}],
        [{"name": "a", "question": "b", "weight": True}],
        [{"name": "a", "question": "b", "weight": "two"}],
        [{"name": ["a"], "question": "b"}],
        ["a: b", "a: c"],
    ],
)
def test_what_is_no_rubric_of_a_prompt_is_refused(given):
    with pytest.raises(BadRubric):
        rubric_of_prompt({"rubric": given})


def test_a_prompt_adds_items_and_replaces_those_of_the_same_name():
    own = {
        "rubric": ["polite (yes/no): Does it thank for the flowers?", {"name": "names-maria", "question": "Does it?"}]
    }
    found = rubric_for(RUBRIC, own)
    assert [item.name for item in found] == ["correct", "polite", "short", "names-maria"]
    assert found[1].question == "Does it thank for the flowers?"
    assert rubric_for(RUBRIC, {"other": 1}) == RUBRIC


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"correct": 3, "polite": 1}, "'short' has no value"),
        ({"correct": 6, "polite": 1, "short": 0}, "from 1 to 5"),
        ({"correct": 0, "polite": 1, "short": 0}, "from 1 to 5"),
        ({"correct": True, "polite": 1, "short": 0}, "from 1 to 5"),
        ({"correct": 3.0, "polite": 1, "short": 0}, "from 1 to 5"),
        ({"correct": 3, "polite": 2, "short": 0}, "yes"),
        ({"correct": 3, "polite": "1", "short": 0}, "yes"),
        ({"correct": 3, "polite": 1, "short": 0, "other": 1}, "no item 'other'"),
    ],
)
def test_values_that_do_not_answer_the_rubric_are_refused(values, why):
    with pytest.raises(BadRubric, match=why):
        values_checked(RUBRIC, values)


def test_the_total_is_the_weighted_mean_of_the_shares():
    said = values_checked(RUBRIC, {"short": False, "polite": True, "correct": 4})
    assert list(said.items()) == [("correct", 4), ("polite", 1), ("short", 0)]
    assert total(RUBRIC, said) == pytest.approx((0.75 + 1 + 0) / 4)
    assert total(RUBRIC, {"correct": 1, "polite": 0, "short": 0}) == 0
    assert total(RUBRIC, {"correct": 5, "polite": 1, "short": 1}) == 1
    thirds = tuple(Item(name, "?", "1-5", weight) for name, weight in (("a", 0.1), ("b", 0.2), ("c", 0.3)))
    assert total(thirds, {"a": 4, "b": 4, "c": 4}) == 0.75, "equal sums are equal, however they are rounded"
