"""Decided pairs shown to a judge, and the sides of its labelled pairs."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import pytest

from prefloop.judging.asking import Question
from prefloop.judging.examples import Example, can_show, may_align, orders_of, reply_of
from prefloop.judging.judge import LlmPairJudge
from prefloop.judging.modes import MODES, VERDICT_MODES
from prefloop.judging.parse import parse_reply
from prefloop.judging.render import load_template
from prefloop.judging.replies import ChatReply
from prefloop.judging.spec import JudgeSpec
from prefloop.types import AS_STORED, SWAPPED

PAIR = Example("the request", "good", "poor", "first", "because [[B]] is rude")


class Listening:
    def __init__(self, said="[[A]]"):
        self.said, self.asked = said, []

    def chat(self, messages, **options):
        self.asked.append(list(messages))
        return ChatReply(text=self.said, finish_reason="stop")


def test_an_example_is_a_turn_in_the_judges_own_words():
    endpoint = Listening()
    examples = [PAIR, Example("another", "x", "y", "second")]
    judge = LlmPairJudge(endpoint, load_template("pairwise"), "kind", examples=examples)
    judge.ask(Question("p", ("a", "b"), SWAPPED))
    (messages,) = endpoint.asked
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "good" in messages[1]["content"]
    assert "the request" in messages[1]["content"]
    code = messages[-1]["content"].split("=== BEGIN CRITERION ")[1].split(" ")[0]
    assert all(code in one["content"] for one in messages[1::2])  # one code for all, which no text holds
    assert messages[-1]["content"].index("\nb\n") < messages[-1]["content"].index("\na\n")


def test_without_examples_a_request_is_what_it_was():
    plain, none = Listening(), Listening()
    for endpoint, more in ((plain, {}), (none, {"examples": ()})):
        LlmPairJudge(endpoint, load_template("pairwise"), "kind", **more).ask(Question("p", ("a", "b")))
    assert plain.asked == none.asked
    assert len(plain.asked[0]) == 2


@pytest.mark.parametrize("mode", VERDICT_MODES)
@pytest.mark.parametrize("outcome", ["first", "second", "tie"])
@pytest.mark.parametrize("order", [AS_STORED, SWAPPED])
def test_the_reply_of_an_example_reads_back_as_its_outcome(mode, outcome, order):
    """What the judge is shown as a reply is what we would read from it, whatever the reason says."""
    if not can_show(mode, outcome):
        assert outcome == "tie"
        return
    said = reply_of(mode, Example("p", "a", "b", outcome, PAIR.reason), order)
    label = "C" if outcome == "tie" else "A" if (outcome == "first") == (order == AS_STORED) else "B"
    if mode in ("logprob", "soft"):
        assert said == MODES[mode].labels["AB".index(label)]
    else:
        assert parse_reply(ChatReply(text=said, finish_reason="stop"), mode).choice == label


def test_both_bad_can_be_said_by_no_reply():
    assert not any(can_show(mode, "both_bad") for mode in VERDICT_MODES)


@pytest.mark.parametrize("outcome", ["first", "second"])
def test_the_better_answer_is_shown_first_as_often_as_second(outcome):
    orders = orders_of([Example("p", "a", "b", outcome)] * 20)
    assert Counter(orders) == {AS_STORED: 10, SWAPPED: 10}
    assert orders not in ([AS_STORED, SWAPPED] * 10, [SWAPPED, AS_STORED] * 10)


def test_the_sides_never_change_and_halve_the_prompts():
    """Fixed values: a change of the rule would move pairs that a judge was shown to the side it is measured on."""
    assert [may_align("judge", f"prompt {n}") for n in range(12)] == [
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        False,
        True,
        True,
        False,
        True,
    ]
    n = sum(may_align("judge", f"prompt {n}") for n in range(4000))
    assert 1880 < n < 2120
    assert any(may_align("judge", f"prompt {n}") != may_align("other", f"prompt {n}") for n in range(12))


def test_a_spec_with_examples_survives_its_file():
    from dataclasses import asdict

    spec = JudgeSpec(kind="llm", name="j", examples=(PAIR,))
    assert JudgeSpec.from_json(json.loads(json.dumps(asdict(spec)))) == spec
    assert spec.settings()["examples"]
    assert "examples" not in JudgeSpec(kind="llm", name="j").settings()


def test_the_simulated_judge_reads_the_question_and_not_the_examples():
    from prefloop.judging.render import new_delimiter, render
    from prefloop.worlds.letters.judge_server import Biases, answer_request

    def asked(prompt, a, b):
        return render(
            load_template("pairwise"), prompt=prompt, first_shown=a, second_shown=b, criterion="kind and correct",
            delimiter=new_delimiter(prompt, a, b, seed=0),
        )  # fmt: skip

    kind, rude = "Dear Maria,\nThank you for the flowers.\nWith love,\nTom", "You stupid idiot."
    question = asked("Thank Maria for the flowers.", kind, rude)
    example = asked("Thank Maria for the flowers.", rude, kind)
    turns = [question[0], example[1], {"role": "assistant", "content": "[[A]]"}, question[1]]
    said = [answer_request({"messages": messages}, Biases())["choices"] for messages in (question, turns)]
    assert said[0] == said[1]
    assert SimpleNamespace(**said[0][0]["message"]).content.endswith("[[A]]")
