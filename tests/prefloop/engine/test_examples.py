from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.engine.examples import (
    UnusableRow,
    batch_of,
    encode_answers,
    encode_demonstrations,
    encode_pairs,
    steps_of,
)
from prefloop.engine.pieces import Row
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_completion
from prefloop.policy.tiny import byte_tokenizer
from prefloop.recipes.snapshots import Demonstration
from prefloop.types import TrainingPair


def rows_of(n: int) -> list[Row]:
    return [Row(PackItem((1,), ((2,), (3,))), id=str(at)) for at in range(n)]


@pytest.mark.slow
@given(n=st.integers(1, 30), batch=st.integers(1, 12), epochs=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_epoch_takes_every_row_once(n: int, batch: int, epochs: int, seed: int) -> None:
    n_steps = steps_of(n, batch=batch, epochs=epochs)
    per_epoch = n_steps // epochs
    for epoch in range(epochs):
        steps = range(epoch * per_epoch + 1, (epoch + 1) * per_epoch + 1)
        taken = [row.id for step in steps for row in batch_of(rows_of(n), step, batch=batch, seed=seed)]
        assert Counter(taken) == Counter(str(at) for at in range(n))


def test_ten_rows_in_batches_of_four_make_three_steps_an_epoch() -> None:
    assert steps_of(10, batch=4, epochs=2) == 6
    sizes = [len(batch_of(rows_of(10), step, batch=4, seed=0)) for step in range(1, 7)]
    assert sizes == [4, 4, 2, 4, 4, 2]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def order(step: int, seed: int) -> tuple[str, ...]:
        return tuple(row.id for row in batch_of(rows_of(20), step, batch=20, seed=seed))

    assert len({order(1, 0), order(2, 0), order(1, 1)}) == 3


def test_sampled_ids_are_never_tokenised_again() -> None:
    tokenizer = byte_tokenizer()
    row = TrainingPair(id="1", prompt="p", first="ab", second="cd", p_first=1.0, first_ids=(70, 71, 72))
    (example,) = encode_pairs([row], tokenizer, max_length=None)
    assert example.item.completions == ((70, 71, 72), encode_completion(tokenizer, "cd"))
    assert example.n_tokens == 3 + 3  # "cd" is two bytes and EOS


def test_an_empty_answer_is_its_end_token() -> None:
    tokenizer = byte_tokenizer()
    (example,) = encode_demonstrations([Demonstration("1", "p", "")], tokenizer, max_length=None)
    assert example.item.completions == ((tokenizer.eos_token_id,),)


def answers(*prompts: str) -> list[Row]:
    """A row for each of these prompts, with answers a, b, c, …"""
    rows = [Demonstration(str(at), prompt, chr(97 + at), desirable=at % 2 == 0) for at, prompt in enumerate(prompts)]
    return encode_answers(rows, byte_tokenizer(), max_length=None)


@pytest.mark.slow
@given(st.lists(st.sampled_from("pqrst"), min_size=1, max_size=12))
def test_every_prompt_stands_beside_an_answer_to_another_one_and_every_answer_once(prompts: list[str]) -> None:
    rows = answers(*prompts)
    assert [row.desirable for row in rows] == [at % 2 == 0 for at in range(len(rows))]
    others = [row.mismatched for row in rows if row.mismatched is not None]
    assert [one.item.prompt_ids for one in others] == [row.item.prompt_ids for row in rows]
    assert Counter(one.item.completions for one in others) == Counter(row.item.completions for row in rows)
    asked = {row.item.completions: row.item.prompt_ids for row in rows}
    same = sum(asked[one.item.completions] == one.item.prompt_ids for one in others)
    most = max(Counter(prompts).values())
    assert same == max(0, 2 * most - len(prompts))  # none, unless one prompt has more than half of the rows


def test_of_different_prompts_each_takes_the_answer_before_it() -> None:
    rows = answers("p", "q", "r")
    taken = [row.mismatched.item.completions for row in rows if row.mismatched is not None]
    assert taken == [rows[at].item.completions for at in (2, 0, 1)]


def test_an_answer_that_is_too_long_for_another_prompt_is_cut_there() -> None:
    rows = [Demonstration("1", "p" * 10, "a"), Demonstration("2", "p", "b" * 10)]
    long, short = encode_answers(rows, byte_tokenizer(), max_length=16)
    assert long.mismatched is not None
    assert long.mismatched.item.completions == (short.item.completions[0][:6],)
    assert short.n_tokens == 11


def test_a_row_that_the_model_can_not_take_is_named() -> None:
    tokenizer = byte_tokenizer()
    long = TrainingPair(id="q9", prompt="p" * 10, first="a" * 20, second="b", p_first=1.0)
    with pytest.raises(UnusableRow, match="row 'q9' has 31 tokens; the model takes 16"):
        encode_pairs([long], tokenizer, max_length=16)
    strange = TrainingPair(id="q9", prompt="p", first="a", second="b", p_first=1.0, second_ids=(999_999,))
    with pytest.raises(UnusableRow, match="row 'q9' holds token ids that the tokenizer does not have"):
        encode_pairs([strange], tokenizer, max_length=None)
