"""Choose the tests that run on PostgreSQL too, after the whole suite ran on SQLite.

    pytest -p tests.on_postgresql tests/apps tests/workers tests/faults

What can differ there is who waits for whom, constraints, SQL of ours, and how many statements a page takes. So these
stay: tests that commit or kill processes, files and tests marked `postgresql`, tests whose names speak of statements;
and the first two functions of every other file with their first case, so that every feature is there.
"""

from __future__ import annotations

import re

import pytest

SPEAKS_OF_STATEMENTS = re.compile(r"statement|quer(y|ies)|question|at_once|same_time|cost_the_same")
OF_A_FILE = 2


def stays(item: pytest.Item) -> bool:
    """Whether the test itself says that it needs PostgreSQL."""
    database = item.get_closest_marker("django_db")
    commits = database is not None and (database.kwargs.get("transaction") or bool(database.args))
    return bool(
        commits
        or {"transactional_db", "live_server"} & set(getattr(item, "fixturenames", ()))
        or item.get_closest_marker("postgresql")
        or "faults" in item.path.parts
        or SPEAKS_OF_STATEMENTS.search(item.name.partition("[")[0])
    )


def chosen(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those that stay, in the order in which they came."""
    stay = {item.nodeid for item in items if stays(item)}
    files: dict[str, dict[int, str]] = {}
    for item in items:
        cases = files.setdefault(str(item.path), {})
        line = item.reportinfo()[1] or 0
        cases[line] = min(cases.get(line, item.nodeid), item.nodeid)
    for cases in files.values():
        stay |= {cases[line] for line in sorted(cases)[:OF_A_FILE]}
    return [item for item in items if item.nodeid in stay]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    stay = chosen(items)
    config.hook.pytest_deselected(items=[item for item in items if item not in set(stay)])
    items[:] = stay
