from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.judging.parse import parse_logprobs, parse_reply, parse_text
from prefloop.judging.replies import ChatReply, TokenLogprob


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("[[A]]", "A"),
        ("Answer B is shorter.\n[[B]]", "B"),
        ("Both say the same.\n\n[[C]]\n\n", "C"),
        ("Reason.\nMy verdict: **[[A]]**.", "A"),
        ("Reason.\n[[ B ]]", "B"),
        ("I lean to [[A]] at first.\nAnd so:\n[[A]]", "A"),
        ("<think>[[A]]? no, [[B]]</think>\nB is kinder.\n[[B]]", "B"),
    ],
)
def test_a_verdict_on_the_last_line_is_read(reply: str, choice: str) -> None:
    assert parse_text(reply).choice == choice


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "   \n",
        "A",
        "A is better.",
        "[A]",
        "[[A]] and [[B]]",
        "The answer says [[A]].\n[[B]]",
        "[[A]]\nBecause it is kind.",
        "[[A]] because it is kind",
        "[[D]]",
        "[[a]]",
        "[[AB]]",
        "[[A>B]]",
        "[[A]]\n[[D]]",
        '{"winner": "A"}',
        '{"verdict": "[[A]]"}',
        "<b>[[A]]</b>",
        "<html><body>[[A]]</body></html>",
        "I'm sorry, I can't compare these.",
        "<think>it must be\n[[A]]",
        "Thought process:",
        ":",
        "[[A]" + "]" * 3 + "x",
        "x" * 10_000_000 + "\n[[A]]",
        "[[" + " " * 50_000,
        "[[A]] " * 9_000 + "x",
    ],
)
def test_whatever_is_no_clear_verdict_is_unparseable_and_says_why(reply: str) -> None:
    parsed = parse_text(reply)
    assert parsed.choice is None
    assert parsed.p_first_shown is None
    assert parsed.why


def test_the_rationale_is_what_stands_before_the_verdict() -> None:
    assert parse_text("One.\nTwo.\n[[A]]").rationale == "One.\nTwo."


def test_a_reply_cut_at_the_token_limit_has_no_verdict() -> None:
    assert parse_reply(ChatReply("I first thought\n[[A]]", finish_reason="length"), "text").choice is None
    assert parse_reply(ChatReply("Well.\n[[A]]", finish_reason="stop"), "text").choice == "A"


@given(st.text(), st.sampled_from("ABC"))
def test_a_second_label_anywhere_makes_a_reply_unparseable(prose: str, choice: str) -> None:
    other = "B" if choice == "A" else "A"
    assert parse_text(f"{prose}[[{other}]]\n[[{choice}]]").choice is None


@given(st.text(alphabet=st.characters(exclude_characters="[]<")), st.sampled_from("ABC"))
def test_prose_before_a_verdict_never_changes_it(prose: str, choice: str) -> None:
    assert parse_text(f"{prose}\n[[{choice}]]").choice == choice


def top(**logprobs: float) -> list[TokenLogprob]:
    return [TokenLogprob(token, math.log(p)) for token, p in logprobs.items()]


def test_p_is_renormalised_over_the_two_labels() -> None:
    parsed = parse_logprobs(top(A=0.6, B=0.2, Well=0.2))
    assert parsed.choice == "A"
    assert parsed.p_first_shown == pytest.approx(0.75)  # 0.6 / 0.8
    assert parsed.flags == ()


def test_spellings_of_a_label_are_added_up() -> None:
    spelled = [("A", 0.1), (" A", 0.1), ("ĠA", 0.05), ("▁A", 0.05), ("B", 0.4), ("\nB", 0.2), ("a", 0.1)]
    parsed = parse_logprobs([TokenLogprob(token, math.log(p)) for token, p in spelled])
    assert parsed.p_first_shown == pytest.approx(0.3 / 0.9)
    assert parsed.choice == "B"


def test_a_label_missing_from_the_likeliest_gets_the_least_given_and_a_flag() -> None:
    parsed = parse_logprobs(top(B=0.9, x=0.06, y=0.02))
    assert parsed.choice == "B"
    assert parsed.p_first_shown == pytest.approx(0.02 / 0.92)
    assert parsed.flags == ("floored",)


def test_labels_that_were_unlikely_to_be_said_are_no_verdict() -> None:
    parsed = parse_logprobs(top(I=0.93, A=0.05, B=0.02))
    assert parsed.choice is None
    assert parsed.flags == ("low-label-mass",)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [TokenLogprob("A", math.nan)],
        [TokenLogprob("A", 3.0), TokenLogprob("B", -1.0)],
        [TokenLogprob("A", math.inf)],
    ],
)
def test_log_probs_that_are_none_are_unparseable(entries: list[TokenLogprob]) -> None:
    assert parse_logprobs(entries).choice is None


def test_a_label_of_probability_zero_does_not_break_the_sum() -> None:
    parsed = parse_logprobs([TokenLogprob("A", -0.001), TokenLogprob("B", -math.inf)])
    assert (parsed.choice, parsed.p_first_shown) == ("A", 1.0)


def test_equal_labels_are_a_tie() -> None:
    parsed = parse_logprobs(top(A=0.4, B=0.4))
    assert (parsed.choice, parsed.p_first_shown) == ("C", 0.5)


@given(st.floats(-8, -0.7), st.floats(-8, -0.7))
def test_exchanging_the_labels_exchanges_the_probability(a: float, b: float) -> None:
    one = parse_logprobs([TokenLogprob("A", a), TokenLogprob("B", b)], least_label_mass=0)
    two = parse_logprobs([TokenLogprob("A", b), TokenLogprob("B", a)], least_label_mass=0)
    assert one.p_first_shown == pytest.approx(math.exp(a) / (math.exp(a) + math.exp(b)))
    assert one.p_first_shown + two.p_first_shown == pytest.approx(1)


def test_a_text_in_the_reply_is_never_read_where_log_probs_were_asked_for() -> None:
    assert parse_reply(ChatReply("[[A]]", raw=json.dumps({})), "logprob").choice is None
