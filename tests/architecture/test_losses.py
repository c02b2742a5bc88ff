"""A loss is declared in one place: nothing else compares losses by their names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from prefloop.losses.registry import LOSSES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("apps", "config", "prefloop", "workers")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts and not path.relative_to(ROOT).as_posix().startswith("prefloop/losses/")
]


def compared_losses(source: str) -> list[int]:
    """The lines that ask whether a recipe's loss has a certain name."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asks = any(isinstance(side, ast.Attribute) and side.attr == "loss" for side in sides)
            names = (one for side in sides for one in ast.walk(side) if isinstance(one, ast.Constant))
            if asks and any(one.value in LOSSES for one in names):
                lines.append(node.lineno)
    return lines


def test_the_rule_finds_what_it_forbids():
    assert compared_losses('if objective.loss == "dpo": x()\nif a.loss in ("none", "ppo"): y()\nz = loss > 1\n') == [
        1,
        2,
    ]


@pytest.mark.slow
def test_nothing_but_the_declarations_compares_a_losss_name():
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in SOURCES
        for line in compared_losses(path.read_text(encoding="utf-8"))
    }
    assert found == set()
