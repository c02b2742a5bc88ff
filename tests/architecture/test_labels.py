"""What was said is written in one app, and derived in one: the rest reads it there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EVENTS = {"Verdict", "Score", "Vote", "Override", "Ranking", "Preference"}
WRITES = {"create", "bulk_create", "get_or_create", "update_or_create", "update", "bulk_update"}
INSERTS = {"rows_insert", "ids_reserve"}
SOURCES = [
    path
    for room in ("apps", "workers")
    for path in sorted((ROOT / room).rglob("*.py"))
    if "migrations" not in path.parts and ROOT / "apps" / "labels" not in path.parents
]


def written(source: str) -> list[int]:
    """The lines that write events: by their manager, by a bulk insert, or by saving one that was made there."""
    tree = ast.parse(source)
    made = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _name(node.value.func) in EVENTS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in INSERTS and node.args and _name(node.args[0]) in EVENTS:
            lines.append(node.lineno)
        elif isinstance(called, ast.Attribute):
            root: ast.AST = called
            while isinstance(root, ast.Attribute | ast.Call):
                root = root.value if isinstance(root, ast.Attribute) else root.func
            by_manager = called.attr in WRITES and _name(root) in EVENTS
            if by_manager or (called.attr == "save" and _name(called.value) in made):
                lines.append(node.lineno)
    return lines


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def test_the_rule_finds_what_it_forbids():
    source = (
        "Vote.objects.create(choice='tie')\n"
        "Override.objects.filter(pk=1).update(kind='agree')\n"
        "rows_insert(Verdict, names, rows)\n"
        "vote = Vote(choice='tie')\n"
        "vote.save()\n"
        "Vote.objects.filter(pk=1).exists()\n"
        "Assignment.objects.create()\n"
    )
    assert written(source) == [1, 2, 3, 5]


@pytest.mark.slow
def test_events_are_written_by_labels_alone():
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in SOURCES
        for line in written(path.read_text(encoding="utf-8"))
    }
    assert len(SOURCES) > 200
    assert found == set()
