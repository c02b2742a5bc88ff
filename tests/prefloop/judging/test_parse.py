from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.judging.parse import (
    LEAST_LABEL_MASS,
    parse_five,
    parse_json,
    parse_logprobs,
    parse_reply,
    parse_score,
    parse_text,
)
from prefloop.judging.replies import ChatReply, TokenLogprob
from prefloop.thoughts import MARKS


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
        ("Reason.\n**Final verdict: [[A]]**", "A"),
        ("Reason.\n[[**B**]]", "B"),
        ("Reason.\n[[Assistant A]]", "A"),
        ("Reason.\n[[answer B]]", "B"),
        ("Reason.\n\\[\\[A\\]\\]", "A"),
        ("回答B更短。\n【【B】】", "B"),
        ("理由。\n［［Ａ］］。", "A"),
        ("Reason.\n⟦C⟧", "C"),
        ("Reason.\n[[\u200bA]]", "A"),
        ("Reason.\n[[A]]<|im_end|>", "A"),
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
        "[[Answer A]]\nNo, on second thoughts:\n[[B]]",
        "【【A】】\n[[B]]",
        "[[Б]]\n[[A]]",
        "[[A]] or [[b]]?\n[[A]]",
        "Assistant A",
        "[[A]] wins.\nExplanation: it is kind.",
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


@pytest.mark.parametrize(("opens", "closes"), MARKS)
@pytest.mark.parametrize("opened", [True, False])
def test_a_label_in_the_thoughts_never_counts(opens: str, closes: str, opened: bool) -> None:
    thoughts = f"{opens if opened else ''}It is [[A]], or A>B: [[A>B]]?\nScore: 1\n" + '{"verdict": "A"}\n'
    assert parse_text(f"{thoughts}{closes}\n\nB is kinder.\n[[B]]").choice == "B"
    assert parse_five(f"{thoughts}{closes}\nB is kinder.\n[[B>>A]]").p_first_shown == 0
    assert parse_json(f'{thoughts}{closes}\n{{"reasoning": "B is kinder.", "verdict": "B"}}').choice == "B"
    assert parse_score(f"{thoughts}{closes}\nIt is kind.\nScore: 4").value == 4
    for reply in (f"{thoughts}{closes}\nI can't say.", f"{closes}{opens}\nIt must be\n[[A]]"):
        assert parse_text(reply).choice is None


def test_channels_without_their_control_tokens_are_thoughts_too() -> None:
    assert parse_text("analysisWe compare: [[A]]? No.assistantfinalB is kinder.\n[[B]]").choice == "B"
    assert parse_text("analysis of both answers: A is kinder.\n[[A]]").choice == "A"


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ('{"reasoning": "r", "verdict": "B"}', "B"),
        ('```json\n{"reasoning": "r", "verdict": "B"}\n```', "B"),
        ('```\n{"reasoning": "r",\n "verdict": "A"}\n```\n', "A"),
        ('{"reasoning": "it says </think> and <think>", "verdict": "A"}', "A"),
        ('Here it is:\n```json\n{"reasoning": "r", "verdict": "B"}\n```', None),
        ('```json\n{"reasoning": "r", "verdict": "B"}\n```\n```json\n{"reasoning": "r", "verdict": "A"}\n```', None),
        ('{"reasoning": "r", "verdict": "A", "verdict": "B"}', None),
        ('["reasoning", "verdict"]', None),
    ],
)
def test_an_object_may_stand_in_a_code_fence_and_nothing_else_may(reply: str, choice: str | None) -> None:
    assert parse_json(reply).choice == choice


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


@pytest.mark.parametrize(
    ("listed", "choice"),
    [
        ({"A": math.exp(-0.01)}, "A"),
        ({" B": math.exp(-0.01)}, "B"),
        ({"A": 0.12, "The": 0.5, "Both": 0.3}, "A"),
        ({"B": 0.12, "The": 0.5, "Both": 0.3}, "B"),
        ({"A": 0.3, "The": 0.3}, None),  # B may have .4
        ({"A": 0.5}, None),
        ({"A": 0.12, "The": 0.5, "Both": 0.25}, None),
    ],
)
def test_where_one_label_is_listed_the_mass_left_over_decides(listed: dict[str, float], choice: str | None) -> None:
    parsed = parse_logprobs(top(**listed))
    assert parsed.choice == choice
    assert "floored" in parsed.flags
    assert (parsed.p_first_shown is None) == (choice is None)
    assert parsed.p_first_shown != 0.5


MASSES = st.dictionaries(st.sampled_from(["A", " A", "▁A", "B", " B", "ĠB", "The", "x", "\n", "C"]), st.floats(1e-6, 1))


@pytest.mark.slow
@given(MASSES, st.floats(0, 1))
def test_p_lies_within_what_the_list_allows_and_turns_with_the_labels(weights: dict[str, float], left: float) -> None:
    total = sum(weights.values()) + left
    masses = {token: weight / total for token, weight in weights.items()}
    a, b = (math.fsum(p for token, p in masses.items() if token.strip(" ▁Ġ") == label) for label in "AB")
    unlisted = max(0.0, 1 - math.fsum(masses.values()))
    turned = str.maketrans("AB", "BA")
    one = parse_logprobs(top(**masses))
    two = parse_logprobs(top(**{token.translate(turned): p for token, p in masses.items()}))
    swapped = {"A": "B", "B": "A", "C": "C", None: None}
    assert one.choice == swapped[two.choice]
    if one.p_first_shown is None:
        assert a + b < LEAST_LABEL_MASS + 1e-9 or (min(a, b) == 0 and unlisted >= max(a, b) - 1e-9)
        return
    assert one.p_first_shown + (two.p_first_shown or 0) == pytest.approx(1)
    assert a / (a + b + unlisted) - 1e-9 <= one.p_first_shown <= (a + unlisted) / (a + b + unlisted) + 1e-9
    assert (one.choice == "C") == (one.p_first_shown == 0.5)
    if one.choice == "C":
        assert min(a, b) > 0, "a tie is never made of what was not listed"


def test_a_token_that_is_listed_twice_counts_once() -> None:
    assert parse_logprobs([*top(A=0.45, B=0.45), *top(A=0.45)]).p_first_shown == 0.5


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
        [TokenLogprob("A", -0.1), TokenLogprob("B", -0.2)],
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
