"""Leave out on PostgreSQL the tests that send it no statement which another test does not send too.

The suite runs whole on SQLite. On PostgreSQL only what can differ there is run again: every statement that any test
sends is sent by a test that stays, with values of the same kinds and with the same errors. Tests that commit, use
threads or kill processes always stay.

    STATEMENTS=record .ci/run         also writes down what each test sends to PostgreSQL
    python tests/on_postgresql.py     chooses, and writes LEFT_OUT
    STATEMENTS=differ .ci/run         runs what stays

A test that LEFT_OUT does not name stays, so that a new test runs on PostgreSQL until somebody records again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ROOT / "tests" / "not_on_postgresql.txt"
RECORDS = ROOT / "var" / "statements"
LISTS = re.compile(r"(\((?:%s|NULL|DEFAULT|::\w+|, )+\))(?:, \((?:%s|NULL|DEFAULT|::\w+|, )+\))*")
LONG_LIST = re.compile(r"%s(?:, %s)*")
NO_QUESTION = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT", "SET CONSTRAINTS", "TRUNCATE")
INT4 = 2**31


def function_of(nodeid: str) -> str:
    """The test without its parameters: its cases stay or go together."""
    return nodeid.partition("[")[0]


def kind_of(value: Any) -> str:
    """What PostgreSQL may take in another way than SQLite: the type, numbers past 32 bits, texts beyond ASCII."""
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    if isinstance(value, int):
        return "int" if -INT4 <= value < INT4 else "large int"
    if isinstance(value, str):
        return "str" if value.isascii() and "\0" not in value else "unusual str"
    return type(value).__name__


def shape_of(sql: str, values: Any, error: str) -> str:
    """A digest of a statement that does not tell how long its lists are, nor what the values are."""
    sql = LONG_LIST.sub("%s…", LISTS.sub(r"\1…", sql))
    rows = values if isinstance(values, list) and values and isinstance(values[0], list | tuple) else [values]
    kinds = sorted({kind_of(one) for row in rows for one in (row.values() if isinstance(row, dict) else row or ())})
    return hashlib.sha256(f"{sql}\n{kinds}\n{error}".encode()).hexdigest()[:12]


# --- within pytest -------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--statements", choices=("record", "differ"), default=None, help=__doc__)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--statements") == "record":
        config.pluginmanager.register(Recorder(), "recorded statements")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--statements") != "differ":
        return
    left_out = set(LEFT_OUT.read_text("utf-8").split())
    gone = [item for item in items if function_of(item.nodeid) in left_out]
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if function_of(item.nodeid) not in left_out]


class Recorder:
    """Writes a line a test: what it sent, how long it took, and whether it must stay whatever it sent."""

    def __init__(self) -> None:
        self._sent: set[str] = set()

    def _wrapper(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        error = ""
        try:
            return execute(sql, params, many, context)
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            if not str(sql).lstrip().upper().startswith(NO_QUESTION):
                self._sent.add(shape_of(str(sql), params, error))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        from django.db import connections
        from django.db.backends.signals import connection_created

        def watch(connection: Any, **_: Any) -> None:
            if self._wrapper not in connection.execute_wrappers:
                connection.execute_wrappers.append(self._wrapper)

        connection_created.connect(watch)
        watch(connections["default"])
        self._sent, begun = set(), time.monotonic()
        try:
            return (yield)
        finally:
            connection_created.disconnect(watch)
            found = item.get_closest_marker("django_db")
            commits = found is not None and (found.kwargs.get("transaction") or bool(found.args))
            row = [
                function_of(item.nodeid),
                round(time.monotonic() - begun, 3),
                commits or "transactional_db" in getattr(item, "fixturenames", ()),
                sorted(self._sent),
            ]
            RECORDS.mkdir(parents=True, exist_ok=True)
            with open(RECORDS / f"{os.getpid()}.jsonl", "a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")


# --- the choice ------------------------------------------------------------------------------------------------------


def chosen(tests: dict[str, tuple[float, bool, set[str]]]) -> tuple[set[str], set[str]]:
    """Who stays and who goes, so that all statements are sent, by tests that take little time (greedily)."""
    stay = {name for name, (_, must, _) in tests.items() if must}
    left = set().union(*(sent for _, _, sent in tests.values())) - set().union(*(tests[name][2] for name in stay))
    while left:
        name = max(sorted(tests), key=lambda one: len(tests[one][2] & left) / (0.05 + tests[one][0]))
        stay.add(name)
        left -= tests[name][2]
    return stay, set(tests) - stay


def recorded() -> dict[str, tuple[float, bool, set[str]]]:
    """What was recorded: seconds, whether it must stay, and the statements of each test with all its cases."""
    tests: dict[str, tuple[float, bool, set[str]]] = {}
    for file in sorted(RECORDS.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            name, seconds, must, sent = json.loads(line)
            before = tests.get(name, (0.0, False, set()))
            tests[name] = before[0] + seconds, before[1] or must, before[2] | set(sent)
    return tests


def main() -> None:
    tests = recorded()
    if not tests:
        raise SystemExit(f"Nothing is recorded in {RECORDS}: run pytest with --statements=record first.")
    stay, go = chosen(tests)
    LEFT_OUT.write_text("".join(f"{name}\n" for name in sorted(go)), "utf-8")
    seconds = [sum(tests[name][0] for name in names) for names in (stay, go)]
    print(f"{len(stay)} tests stay ({seconds[0]:.0f} s); {len(go)} are left out ({seconds[1]:.0f} s)")


if __name__ == "__main__":
    main()
