"""A kind of judge is declared in one place: nothing else compares kinds by their names."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from django.template.loader import get_template

from prefloop.judging.kinds import JOINTS, KINDS, refusal

ROOT = Path(__file__).resolve().parents[2]
DECLARED = "prefloop/judging/kinds.py"
SOURCES = [
    path
    for folder in ("apps", "config", "prefloop", "workers")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts and path.relative_to(ROOT).as_posix() != DECLARED
]
ASKED = {"filter", "exclude", "get", "Q", "filter_by"}


def compared_kinds(source: str) -> list[int]:
    """The lines that ask whether a kind has a certain name."""
    tree = ast.parse(source)
    constants = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "prefloop.judging.kinds"
        for alias in node.names
        if alias.name.isupper() and alias.name in {name.upper() for name in KINDS}
    }

    def names_a_kind(node: ast.AST) -> bool:
        return any(
            (isinstance(one, ast.Constant) and one.value in KINDS)
            or (isinstance(one, ast.Name) and one.id in constants)
            for one in ast.walk(node)
        )

    def is_a_kind(node: ast.AST) -> bool:
        return (isinstance(node, ast.Attribute) and node.attr == "kind") or (
            isinstance(node, ast.Name) and node.id == "kind"
        )

    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(is_a_kind, sides)) and any(map(names_a_kind, sides)):
                lines.append(node.lineno)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for keyword in node.keywords if called in ASKED else ():
                if re.search(r"(^|__)kind(__in)?$", keyword.arg or "") and names_a_kind(keyword.value):
                    lines.append(node.lineno)
    return lines


def test_the_rule_finds_what_it_forbids():
    source = 'from prefloop.judging.kinds import LLM\nif judge.kind == LLM.name: x()\nrows.filter(judge__kind="llm")\n'
    assert compared_kinds(source) == [2, 3]


@pytest.mark.slow
def test_nothing_but_the_declarations_compares_a_kinds_name():
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in SOURCES
        for line in compared_kinds(path.read_text(encoding="utf-8"))
    }
    # the table itself holds to its constraints
    found = {one for one in found if not one.startswith("apps/labels/models.py:")}
    assert found == set()


def test_no_page_compares_a_kinds_name():
    names = "|".join(KINDS)
    pattern = re.compile(rf"kind == ['\"]({names})['\"]")
    templates = (ROOT / "templates").rglob("*.html")
    assert [path.name for path in templates if pattern.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("joint", JOINTS.values(), ids=lambda joint: joint.name)
@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_what_cannot_be_combined_is_refused_in_one_sentence(kind, joint):
    for mode in kind.modes or ("",):
        said = refusal(kind, joint, "mine", mode)
        assert said == "" or (said.startswith("judge 'mine' ") and "\n" not in said and not said.endswith("."))


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.asked], ids=lambda kind: kind.name)
def test_a_kind_that_can_be_asked_says_how(kind):
    """One module a kind: it scores answers where any of its ways of answering does, and compares where any does."""
    module = importlib.import_module(f"workers.judges.{kind.name}")
    ways = {kind.gives_scores(mode) for mode in kind.modes or ("",)}
    assert (True in ways) == hasattr(module, "score") == (kind.by_scores is not None)
    assert (False in ways) == hasattr(module, "compare")


def test_a_kind_that_people_make_has_a_form():
    from apps.judging.kind_forms import FORMS

    assert set(FORMS) == {kind.name for kind in KINDS.values() if kind.by_hand}
    for form in FORMS.values():
        get_template(form.fields_template)
