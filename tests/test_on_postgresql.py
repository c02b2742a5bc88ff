"""What runs on PostgreSQL too is what can differ there, and something of every file."""

from __future__ import annotations

pytest_plugins = ["pytester"]

FILE = """
import pytest

@pytest.mark.parametrize("case", ["b", "a"])
def test_one(case): pass
def test_two(): pass
def test_three(): pass
def test_the_page_takes_three_statements(): pass
@pytest.mark.postgresql
def test_marked(): pass
@pytest.mark.django_db(transaction=True)
def test_commits(): pass
"""


def test_what_stays(pytester):
    pytester.makeini("[pytest]\nmarkers =\n  postgresql: x\n  django_db: x")
    pytester.makepyfile(test_it=FILE)
    options = ["-p", "tests.on_postgresql", "-p", "no:randomly", "-p", "no:django", "--collect-only", "-q"]
    told = pytester.runpytest_inprocess(*options)
    assert [line.partition("::")[2] for line in told.outlines if "::" in line] == [
        "test_one[a]", "test_two", "test_the_page_takes_three_statements", "test_marked", "test_commits",
    ]  # fmt: skip
