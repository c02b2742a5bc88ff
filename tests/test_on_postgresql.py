"""What is left out on PostgreSQL sends nothing that nobody else sends."""

from __future__ import annotations

from tests.on_postgresql import chosen, function_of, shape_of


def test_every_statement_is_still_sent_by_quick_tests_and_whoever_commits_stays():
    tests = {
        "commits": (9.0, True, {"a"}),
        "quick": (0.1, False, {"b", "c"}),
        "slow": (5.0, False, {"b", "c"}),
        "alone": (5.0, False, {"d"}),
        "twin": (0.1, False, {"a"}),
        "silent": (0.1, False, set()),
    }
    stay, go = chosen(tests)
    assert (stay, go) == ({"commits", "quick", "alone"}, {"slow", "twin", "silent"})


def test_statements_are_the_same_whatever_the_length_of_their_lists_and_differ_by_what_postgresql_may_refuse():
    asked = "SELECT a FROM t WHERE b IN (%s, %s, %s) AND c = %s"
    same = shape_of(asked, (1, 2, 3, "x"), "")
    assert shape_of("SELECT a FROM t WHERE b IN (%s) AND c = %s", (7, "another"), "") == same
    others = [
        shape_of(asked, (1, 2, 2**40, "x"), ""),
        shape_of(asked, (1, 2, 3, "é"), ""),
        shape_of(asked, (1, 2, None, "x"), ""),
        shape_of(asked, (1, 2, 3, "x"), "IntegrityError"),
        shape_of("SELECT b FROM t WHERE b IN (%s, %s, %s) AND c = %s", (1, 2, 3, "x"), ""),
    ]
    assert len({same, *others}) == 6
    many = "INSERT INTO t (a, b) VALUES (%s, %s), (%s, %s)"
    assert shape_of(many, (1, "x", 2, "y"), "") == shape_of("INSERT INTO t (a, b) VALUES (%s, %s)", (1, "x"), "")
    assert function_of("tests/a.py::test_b[1-x]") == "tests/a.py::test_b"
