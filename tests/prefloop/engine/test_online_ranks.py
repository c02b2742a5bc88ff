"""On-policy runs of several processes: each draws its share of a step's answers and learns from its share of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefloop.engine import train
from prefloop.recipes.events import drop_superseded, read_events
from tests.prefloop.engine.test_ranks import DEADLINE_SECONDS, start, told

MakeOnline = Callable[..., Path]


def drawn(run_dir: Path) -> list[tuple[int, int, list[list[int]]]]:
    events = drop_superseded(read_events(run_dir / "events.jsonl")[0])
    return [
        (event.data["step"], event.data["row"], [answer["ids"] for answer in event.data["answers"]])
        for event in events
        if event.type == "sample"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "ppo", "j-bond"])
def test_two_processes_draw_and_learn_what_one_does(make_online: MakeOnline, method: str) -> None:
    # 12 prompts in batches of 5: shares of 3 and 2, then of 1 and 1; in fp64, where sums in another order draw the same
    settings: dict[str, Any] = {"objective": {"batch": 5}, "precision": "float64"}
    one, two = make_online(method, "one", **settings), make_online(method, "two", processes=2, **settings)
    assert train.run(one).exit_code == 0
    assert start(two).wait(DEADLINE_SECONDS) == 0
    assert drawn(two) == drawn(one)
    ours, theirs = told(two), told(one)
    assert len(ours) == len(theirs) == 3
    for mine, single in zip(ours, theirs, strict=True):
        assert mine.keys() == single.keys()
        for name, value in single.items():
            assert mine[name] == pytest.approx(value, abs=1e-5, rel=1e-5), name
