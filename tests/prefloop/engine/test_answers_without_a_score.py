"""An answer that the judge of a step can't score teaches nothing, and the run's log says that there was one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.engine.online.judges import StepJudge
from prefloop.engine.online.stream import StreamLog
from prefloop.engine.step_losses import Answers
from prefloop.judging.modes import MODES
from prefloop.judging.render import load_template, template_text
from prefloop.judging.replies import ChatReply
from prefloop.judging.spec import JudgeSpec
from prefloop.losses.grpo import group_advantages
from prefloop.losses.rloo import rloo_loss
from prefloop.recipes.events import EventWriter
from prefloop.types import Completion, Group


class Grader:
    """Grades an answer by the number that it is, and says nothing that can be read of an empty one."""

    def chat(self, messages: Any, **_: Any) -> ChatReply:
        number = [line for line in messages[-1]["content"].splitlines() if line.startswith("worth ")]
        return ChatReply(text=f"Score: {number[0].split()[1]}" if number else "I can't tell.")


class Tools:
    def endpoint(self, spec: JudgeSpec) -> Any:
        return Grader()

    def meter(self, spec: JudgeSpec) -> None:
        return None

    def check(self) -> None: ...


def scores(tmp_path: Path, groups: list[list[str]]) -> tuple[list[list[float]], list[str]]:
    told: list[str] = []
    template = template_text(load_template(MODES["rubric"].template))
    spec = JudgeSpec(kind="llm", template=template, mode="rubric", criterion="Kind.", samples=1)
    log = StreamLog(EventWriter(tmp_path / "events.jsonl"), [])
    judge = StepJudge(spec, log, Tools(), {}, told.append)  # type: ignore[arg-type]
    answers = [
        Answers(row, f"p{row}", "Hi?", (1,), Group(f"p{row}", tuple(Completion(text=text) for text in texts)))
        for row, texts in enumerate(groups)
    ]
    return judge.scores(3, answers), told


def test_it_gets_the_mean_of_the_others_to_its_prompt_and_the_log_says_so(tmp_path: Path) -> None:
    found, told = scores(tmp_path, [["worth 2", "", "worth 8", "worth 5"], ["", ""], ["worth 9", "worth 3"]])
    assert found == [[2, 5, 8, 5], [pytest.approx(27 / 5)] * 2, [9, 3]]
    assert told == [
        "step 3: 3 of 8 answers have no score; each gets the mean of the others to its prompt, else of the step"
    ]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert sum(event.get("state") == "unparseable" for event in events) == 3  # and what it said stays readable


def test_nothing_is_said_where_all_have_one(tmp_path: Path) -> None:
    assert scores(tmp_path, [["worth 2", "worth 8"]]) == ([[2, 8]], [])


def test_a_group_baseline_learns_nothing_from_it_and_the_same_from_the_others(tmp_path: Path) -> None:
    (values,), _ = scores(tmp_path, [["worth 2", "", "worth 9", "worth 4"]])
    with_it, others = torch.tensor(values, dtype=torch.float64), torch.tensor([2.0, 9.0, 4.0], dtype=torch.float64)
    group = torch.zeros(4, dtype=torch.long)
    centred = group_advantages(with_it, group, by_deviation=False)
    assert centred[1] == 0
    torch.testing.assert_close(centred[[0, 2, 3]], group_advantages(others, group[:3], by_deviation=False))
    # the deviation is over four instead of three, so GRPO's advantages are larger by this
    larger = float(with_it.std().reciprocal() * others.std())
    assert larger > 1
    scaled = group_advantages(with_it, group)
    torch.testing.assert_close(scaled[[0, 2, 3]], larger * group_advantages(others, group[:3]), rtol=1e-3, atol=0)

    def rloo(scores: torch.Tensor) -> torch.Tensor:
        none = torch.zeros_like(scores)
        return rloo_loss(none, none, none, scores, torch.zeros(len(scores), dtype=torch.long), beta=0.0).advantages

    found = rloo(with_it)
    assert abs(found[1]) < 1e-12
    torch.testing.assert_close(found[[0, 2, 3]], rloo(others) * (4 / 3) / (3 / 2))  # n / (n - 1), of 4 and of 3
