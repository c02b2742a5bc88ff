"""The ways in which a judge answers by a template, each declared once: what it is shown, and what its reply holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

VerdictMode = Literal["text", "json", "logprob", "soft", "five"]
ScoreMode = Literal["additive", "rubric"]
JudgeMode = VerdictMode | ScoreMode
VERDICT_MODES: tuple[VerdictMode, ...] = get_args(VerdictMode)
SCORE_MODES: tuple[ScoreMode, ...] = get_args(ScoreMode)
JUDGE_MODES: tuple[JudgeMode, ...] = (*VERDICT_MODES, *SCORE_MODES)
BY_LOGPROB: tuple[VerdictMode, ...] = ("logprob", "soft")  # the reply is one token, read by its log-probs


@dataclass(frozen=True, slots=True)
class Mode:
    """`labels`: the names of the answer shown first and of the second. `range`: of its scores, both ends included."""

    about: str  # as people read it where they choose one
    template: str  # the name of the built-in one
    file: str  # of the built-in template: its name, its version
    labels: tuple[str, str] = ("A", "B")
    range: tuple[int, int] = (0, 0)


MODES: dict[JudgeMode, Mode] = {
    "text": Mode("Compares: reasons, then a verdict", "pairwise", "pairwise.v1.txt"),
    "json": Mode("Compares: reasons and a verdict as JSON, by a schema", "pairwise-json", "pairwise-json.v1.txt"),
    "logprob": Mode("Compares: log-probs of one token", "pairwise-logprob", "pairwise-logprob.v1.txt"),
    # names that suggest no order
    "soft": Mode(
        "Compares: log-probs of one token, unordered names", "pairwise-soft", "pairwise-soft.v1.txt", ("k", "K")
    ),
    "five": Mode("Compares: reasons, then one of five labels", "pairwise-five", "pairwise-five.v1.txt"),
    "additive": Mode("Grades each answer from 0 to 5, several times", "additive", "additive.v1.txt", range=(0, 5)),
    "rubric": Mode("Grades each answer from 1 to 10", "rubric", "rubric.v1.txt", range=(1, 10)),
}
