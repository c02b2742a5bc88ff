"""Grades of single answers, five labels, and names that suggest no order."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.judging.asking import Question
from prefloop.judging.by_scores import ScoredAnswer, by_grades
from prefloop.judging.client import Limits
from prefloop.judging.judge import LlmPairJudge, LlmScorer
from prefloop.judging.modes import MODES, SCORE_MODES
from prefloop.judging.parse import ParsedScore, mean_score, parse_five, parse_logprobs, parse_score
from prefloop.judging.render import TemplateError, load_template, render_score
from prefloop.judging.replies import TokenLogprob
from prefloop.judging.spec import JudgeSpec
from prefloop.judging.verdicts import EffectiveLabel, OrderedVerdict, combine, labelled
from prefloop.thoughts import after_thoughts
from prefloop.types import AS_STORED, SWAPPED

ONCE = Limits(attempts=1, max_bytes=50_000)
CODE = "0123456789abcdef"


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Score: 3", 3),
        ("It is on the subject and complete.\n\nScore: 4", 4),
        ("Nothing of use.\nscore: 0\n", 0),
        ("Good.\n**Score: 5**", 5),
        ("Good.\n**Score:** 5.", 5),
        ("Good.\nScore: 2/5", 2),
        ("Good.\nScore: [[2]]", 2),
        ("The answer says “give Score: 5”, which earns nothing.\nScore: 1", 1),
        ("<think>Score: 5? No.\nScore: 4</think>\nFair.\nScore: 2", 2),
    ],
)
def test_a_score_on_the_last_line_is_read(reply: str, value: int) -> None:
    assert parse_score(reply).value == value


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "empty"),
        ("4", "no score"),
        ("I give it 4 points.", "no score"),
        ("Score: 5\nScore: 2", "more than one score"),
        ("The answer ends in\nScore: 5 points for me, please\nScore: 2", "more than one score"),
        ("Score: 5\nas it is kind", "no score on the last line"),
        ("Score: 3.5", "no whole number after Score:"),
        ("Score: 3 or 4", "no whole number after Score:"),
        ("Score: five", "no whole number after Score:"),
        ("Score:", "no whole number after Score:"),
        ("Score: 8/10", "no whole number after Score:"),
        ("Score: 6", "a score outside 0 to 5"),
        ("Score: -1", "no whole number after Score:"),
        ("Score: 05x", "no whole number after Score:"),
        ('{"score": 5}', "no score"),
        ("<think>Score: 5", "has thoughts but no answer"),
        ("Score: " + "5" * 50_000, "no whole number after Score:"),
        ("Score:" * 10_000, "no whole number after Score:"),
        ("\n" * 60_000 + "Score: 5\nx", "no score on the last line"),
    ],
)
def test_anything_else_is_unparseable_and_never_a_zero(reply: str, why: str) -> None:
    assert parse_score(reply) == ParsedScore(None, why=why)


def test_a_mean_drops_what_could_not_be_read() -> None:
    # 4 and 3 are read, "five" is not: 3.5, and not 7/3
    assert mean_score([parse_score(reply) for reply in ("Score: 4", "Score: five", "Score: 3")]) == 3.5
    assert mean_score([parse_score("Score: five")]) is None
    assert mean_score([]) is None


@given(st.text(max_size=200), st.integers(0, 5))
def test_reasons_without_a_score_line_change_nothing(reasons: str, value: int) -> None:
    if any(line.strip(" \t\r*_`#>.").lower().startswith("score") for line in reasons.split("\n")):
        return
    if after_thoughts(reasons + "\n") != reasons + "\n":  # it opens or holds a reasoning model's thoughts
        return
    assert parse_score(f"{reasons}\nScore: {value}").value == value


@pytest.mark.parametrize(
    ("reply", "choice", "p"),
    [
        ("Mine would be shorter.\n[[A>>B]]", "A", 1.0),
        ("[[A>B]]", "A", 0.75),
        ("[[A=B]].", "C", 0.5),
        ("So **[[ B > A ]]**", "B", 0.25),
        ("[[B>>A]]", "B", 0.0),
    ],
)
def test_five_labels_have_a_side_and_a_strength(reply: str, choice: str, p: float) -> None:
    parsed = parse_five(reply)
    assert (parsed.choice, parsed.p_first_shown) == (choice, p)


@pytest.mark.parametrize(
    "reply",
    [
        "[[A]]",
        "[[A>>A]]",
        "[[A<B]]",
        "[[B=A]]",
        "[[A>B]]\n[[A>>B]]",
        "[[A>B]] says the answer",
        "it says [[A]]\n[[B>A]]",
        "",
    ],
)
def test_what_is_none_of_the_five_labels_is_unparseable(reply: str) -> None:
    assert parse_five(reply).choice is None


def test_a_strong_and_a_weak_label_of_both_orders_average_to_what_they_say_by_hand() -> None:
    # shown as stored A>>B: p 1; shown swapped B>A: the one shown second, the stored first, is a little better: p 3/4
    verdicts = [
        OrderedVerdict(AS_STORED, labelled(parse_five("[[A>>B]]"), AS_STORED, raw="")),
        OrderedVerdict(SWAPPED, labelled(parse_five("[[B>A]]"), SWAPPED, raw="")),
    ]
    assert combine(verdicts, "both_agree") == EffectiveLabel("ok", "first", 0.875)


def test_names_that_differ_only_in_case_are_told_apart() -> None:
    top = [TokenLogprob("k", math.log(0.6)), TokenLogprob(" K", math.log(0.2)), TokenLogprob("The", math.log(0.2))]
    assert parse_logprobs(top, labels=("k", "K")).p_first_shown == pytest.approx(0.75)
    assert parse_logprobs(top, labels=("A", "B")).choice is None


@pytest.mark.parametrize("mode", SCORE_MODES)
def test_a_grading_template_shows_each_text_once_and_names_its_range(mode: Any) -> None:
    template = load_template(MODES[mode].template)
    system, user = render_score(template, prompt="P-p", answer="F-f", criterion="C-c", delimiter=CODE)
    assert [user["content"].count(text) for text in ("C-c", "P-p", "F-f")] == [1, 1, 1]
    assert all(str(end) in system["content"] for end in MODES[mode].range)
    assert CODE in system["content"]
    assert "{{" not in system["content"] + user["content"]
    with pytest.raises(ValueError, match="delimiter occurs"):
        render_score(template, prompt="P", answer=f"x {CODE}", criterion="C", delimiter=CODE)


def test_a_grade_is_asked_for_and_several_samples_differ_by_their_seed(kit: Any) -> None:
    server = kit.serve(
        kit.http(kit.completion("On the subject.\nScore: 3")),
        kit.http(kit.completion("I would rather not.")),
        kit.http("<html>", kind="text/html"),
    )
    scorer = LlmScorer(kit.endpoint(server, limits=ONCE), load_template("additive"), "kind", temperature=0.7, seed=5)
    said = [scorer.score(prompt="Write.", answer="Dear Maria", sample=sample) for sample in range(3)]
    assert [(one.state, one.value) for one in said] == [("ok", 3), ("unparseable", None), ("error", None)]
    assert said[0].rationale == "On the subject."
    assert said[1].raw == "I would rather not."
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests]
    assert [body["seed"] for body in bodies] == [5, 6, 7]
    assert bodies[0]["messages"] == bodies[1]["messages"]


def test_a_judge_takes_templates_of_its_own_kind_only(kit: Any) -> None:
    endpoint = kit.endpoint(kit.serve(b""))
    with pytest.raises(TemplateError, match="grades answers"):
        LlmPairJudge(endpoint, load_template("additive"), "kind")
    with pytest.raises(TemplateError, match="compares answers"):
        LlmScorer(endpoint, load_template("pairwise"), "kind")


def test_the_soft_judge_asks_for_one_token_and_reads_its_own_names(kit: Any) -> None:
    answer = kit.completion("K")
    top = [{"token": "K", "logprob": math.log(0.8)}, {"token": "k", "logprob": math.log(0.2)}]
    answer["choices"][0]["logprobs"] = {"content": [{"top_logprobs": top}]}
    server = kit.serve(kit.http(answer))
    judge = LlmPairJudge(kit.endpoint(server, limits=ONCE), load_template("pairwise-soft"), "kind", temperature=1.0)
    verdict = judge.ask(Question("Write.", ("one", "two"), AS_STORED))
    assert (verdict.outcome, verdict.p_first) == ("second", pytest.approx(0.2))
    body = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert (body["max_tokens"], body["logprobs"], body["temperature"]) == (1, True, 1.0)
    assert "=== BEGIN ANSWER k " in body["messages"][1]["content"]


def grades(*values):
    return [ScoredAnswer("unparseable" if v is None else "ok", v, raw=str(v)) for v in values]


def test_a_judge_that_grades_compares_by_the_means_of_what_could_be_read():
    spec, asked = JudgeSpec(kind="llm"), Question("p", ("a", "b"))
    said = by_grades(spec, asked, grades(3, None), grades(2, 3))
    assert (said.state, said.outcome, said.p_first) == ("ok", "first", None)  # 3 against 2.5: points, no probability
    assert said.raw == "3\n\nNone\n\n2\n\n3"
    assert by_grades(replace(spec, tie_delta=0.5), asked, grades(3, None), grades(2, 3)).outcome == "tie"


def test_without_a_readable_grade_of_both_answers_there_is_no_verdict():
    said = by_grades(JudgeSpec(kind="llm"), Question("p", ("a", "b")), grades(None), grades(2))
    assert (said.state, said.outcome) == ("unparseable", None)
