"""The library's README: its example runs and does what it says, and its index names what there is, all of it."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import prefloop.losses
from prefloop.losses.registry import LOSSES

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "prefloop" / "README.md").read_text(encoding="utf-8")
INDEX = README.split("## Paper index")[1]
ROWS = [line for line in INDEX.splitlines() if line.startswith("|") and re.search(r"`tests?/|/test_", line)]
NAME = re.compile(r"`((?:losses|recipes|judging|stats|policy|engine|worlds)(?:\.\w+)+)`")
NOT_METHODS = {"same_rows", "soft_label"}


def test_the_worked_example_runs_and_its_loss_falls_from_log_two() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    first, *_, last = names["losses"]
    assert first == pytest.approx(math.log(2), abs=1e-6)
    assert last < first
    assert len(names["kept"].completions) == 8


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_a_function_and_tests_that_use_it(row: str) -> None:
    functions, files = NAME.findall(row), re.findall(r"`(\w+/test_\w+\.py)`", row)
    assert functions
    assert files
    tests = "".join((ROOT / "tests" / "prefloop" / file).read_text(encoding="utf-8") for file in files)
    for function in functions:
        module, name = function.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(f"prefloop.{module}"), name))
        assert re.search(rf"\b{name}\b", tests), f"{name} is not in {files}"


def test_every_loss_has_a_row() -> None:
    indexed = set(NAME.findall(INDEX))
    for info in pkgutil.iter_modules(prefloop.losses.__path__):
        module = importlib.import_module(f"prefloop.losses.{info.name}")
        for name, value in inspect.getmembers(module, inspect.isfunction):
            own = value.__module__ == module.__name__ and not name.startswith("_")
            if own and (name.endswith("_loss") or name.endswith("_reward")) and name not in NOT_METHODS:
                assert any(row.endswith(f".{name}") for row in indexed) or name == "expected_cringe_token_loss", name


def test_every_declared_loss_has_a_row_that_names_its_paper() -> None:
    for loss in LOSSES.values():
        papers = re.findall(r"arXiv:\d+\.\d+", loss.source)
        assert all(paper in INDEX for paper in papers), loss.name
        if loss.rows_of is not None:
            module = loss.rows_of.__module__.removeprefix("prefloop.")
            assert any(name.startswith(f"{module}.") for name in NAME.findall(INDEX)), loss.name


def test_the_default_numbers_of_the_losses_are_those_of_the_index() -> None:
    assert LOSSES["dpo"].defaults["beta"] == 0.1
    assert LOSSES["rso"].defaults["gamma"] == LOSSES["hinge-norm"].defaults["gamma"] == 0.05
    assert LOSSES["click"].defaults["alpha"] == 20
    assert LOSSES["spin"].defaults["lambda_"] == 0.1
