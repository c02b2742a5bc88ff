"""The rules of the house that a reader could break without noticing."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path for folder in ("apps", "config", "prefloop", "workers") for path in sorted((ROOT / folder).rglob("*.py"))
]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
MARKS_SAFE = {"apps/core/text.py", "apps/core/svg.py"}


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _run(*command, **environment):
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.slow
def test_the_web_process_never_imports_torch(tmp_path):
    code = (
        "import sys, config.wsgi\n"
        "from django.urls import get_resolver\n"
        "def walk(r):\n"
        "    for p in r.url_patterns:\n"
        "        walk(p) if hasattr(p, 'url_patterns') else p.callback\n"
        "walk(get_resolver())\n"
        "from django.core.checks import run_checks\n"
        "run_checks()\n"
        "heavy = sorted({'torch', 'transformers', 'accelerate', 'peft', 'safetensors'} & set(sys.modules))\n"
        "sys.exit('imported ' + ', '.join(heavy) if heavy else 0)\n"
    )
    done = _run(sys.executable, "-c", code, PREFLOOP_VAR=str(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_import_contracts_hold():
    command = Path(sys.executable).with_name("lint-imports")
    done = _run(str(command), "--no-cache")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_no_migration_is_missing(tmp_path):
    done = _run(sys.executable, "manage.py", "makemigrations", "--check", "--dry-run", PREFLOOP_VAR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TEMPLATES, ids=_name)
def test_a_template_is_strict(path):
    """No |safe, no {% autoescape off %}, no inline script, style or handler."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe(seq)?\b|autoescape\s+off", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text), "inline script"
    assert not re.search(r"<style\b|\sstyle=", text), "inline style"
    assert not re.search(r"\son[a-z]+\s*=", text), "inline handler"
    assert not re.search(r"\bhx-on\b|\bhx-vals=['\"]js:|javascript:", text), "script in an attribute"
    assert not re.search(r"(?:src|href|action)=['\"](?:https?:)?//", text), "something from elsewhere"


def test_only_the_sanitiser_and_the_charts_mark_text_as_safe():
    found = {
        _name(path)
        for path in SOURCES
        if re.search(r"\bmark_safe\b|\bSafeString\(|SafeText|__html__", path.read_text(encoding="utf-8"))
    }
    assert found - MARKS_SAFE == set()


FORBIDDEN_CALLS = {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "dill.load", "eval", "exec", "os.system"}
FORBIDDEN_IMPORTS = {"pickle", "dill", "joblib", "shelve", "marshal", "cPickle"}


def _dotted(node):
    """Spell a callee: "torch.load"; a method of an expression begins with a dot."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    else:
        parts.append("")
    return ".".join(reversed(parts))


@pytest.mark.slow
def test_nothing_unpickles_or_evaluates():
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _dotted(node.func) in FORBIDDEN_CALLS:
                found.append(f"{_name(path)}:{node.lineno} calls {_dotted(node.func)}")
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [f"{_name(path)}:{node.lineno} imports {n}" for n in names if n.split(".")[0] in FORBIDDEN_IMPORTS]
            if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "shell"}:
                is_false = isinstance(node.value, ast.Constant) and node.value.value is False
                if not is_false:
                    found.append(f"{_name(path)}:{node.value.lineno} sets {node.arg}")
    assert found == []


def test_no_serializer_or_form_takes_all_fields():
    found = [
        _name(path) for path in SOURCES if re.search(r"fields\s*=\s*['\"]__all__", path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_query_is_built_from_request_parameters():
    """`filter(**request.GET)` would let a reader ask about any column (ORM leak)."""
    pattern = re.compile(r"(filter|exclude|order_by|get|annotate)\(\s*\*\*?\s*(self\.)?request\.")
    assert [_name(path) for path in SOURCES if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_colours_are_named_in_the_tokens_only():
    found = []
    for path in sorted((ROOT / "static" / "css").rglob("*.css")):
        if path.name == "tokens.css":
            continue
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
        for match in re.finditer(r"#[0-9a-fA-F]{3,8}\b|\b(?:hsl|oklch|lab|lch)a?\(", text):
            found.append(f"{_name(path)}: {match.group()}")
    assert found == []


def test_every_icon_a_template_asks_for_is_drawn():
    drawn = set(re.findall(r'<symbol id="([\w-]+)"', (ROOT / "static" / "icons.svg").read_text(encoding="utf-8")))
    asked = {
        (_name(path), name)
        for path in TEMPLATES
        for name in re.findall(r'{%\s*icon "([\w-]+)"', path.read_text(encoding="utf-8"))
    }
    assert sorted((path, name) for path, name in asked if name not in drawn) == []


def test_files_fit_in_a_head():
    """400 lines, one subject; what is longer says why here."""
    long = {
        _name(path): n
        for path in SOURCES
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 440 and "/migrations/" not in _name(path)
    }
    assert long == {}
