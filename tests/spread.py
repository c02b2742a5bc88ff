"""Spread the cases of long lists over three days and the fault tests over two, so that CI ends in time.

    SPREAD=20788 pytest -p tests.spread tests

`SPREAD` is the number of the day (`date +%s` divided by 86400). Of a test with several cases in one of the places below
a third is run, at least one, and other ones on the next day. Each place asks one thing of many pages, routes, recipes
or screens, where what breaks one mostly breaks several. Of the tests that kill processes, which take a minute each,
half are run. `make test` by itself runs all.
"""

from __future__ import annotations

import os

import pytest

PLACES = (
    "tests/browser/",
    "tests/flows/",
    "tests/architecture/test_blindness.py",
    "tests/architecture/test_rest.py",
    "tests/architecture/test_routes.py",
    "tests/apps/exchange/test_bombs.py",
    "tests/apps/training/test_every_key.py",
    "tests/prefloop/engine/test_online_ranks.py",
    "tests/prefloop/engine/test_ranks.py::test_processes_",
    "tests/prefloop/engine/test_ranks.py::test_two_processes_have_",
)
DAYS = 3
FAULTS, DAYS_OF_FAULTS = "tests/faults/", 2


def of_the_day(nodeids: list[str], day: int) -> set[str]:
    """Those of these tests that are run on the day."""
    cases: dict[str, list[str]] = {}
    for nodeid in nodeids:
        spread = nodeid.startswith(PLACES) and nodeid.endswith("]")
        name = FAULTS if nodeid.startswith(FAULTS) else nodeid.partition("[")[0] if spread else nodeid
        cases.setdefault(name, []).append(nodeid)
    run: set[str] = set()
    for name, several in cases.items():
        days = min(DAYS_OF_FAULTS if name == FAULTS else DAYS, len(several))
        run.update(one for place, one in enumerate(sorted(several)) if place % days == day % days)
    return run


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = of_the_day([item.nodeid for item in items], int(os.environ["SPREAD"]))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in run])
    items[:] = [item for item in items if item.nodeid in run]
