"""Within three days every case is run, each day at least one of every test, and other tests are run always."""

from __future__ import annotations

from tests.spread import DAYS, of_the_day


def test_every_case_has_its_day():
    pages = [f"tests/browser/test_pages.py::test_it_fits[{n}]" for n in range(7)]
    two = [f"tests/flows/test_loops.py::test_a_loop[{n}]" for n in "ab"]
    always = [
        "tests/browser/test_pages.py::test_alone",
        "tests/apps/test_x.py::test_y[1]",
        "tests/apps/test_x.py::test_y[2]",
    ]
    kills = [f"tests/faults/test_{name}.py::test_it_goes_on" for name in "abcdef"]
    days = [of_the_day([*pages, *two, *always, *kills], day) for day in range(20788, 20788 + DAYS)]
    assert set().union(*days) == {*pages, *two, *always, *kills}
    for run in days:
        assert 2 <= len(run & set(pages)) <= 3
        assert len(run & set(two)) == 1
        assert len(run & set(kills)) == 3
        assert run >= set(always)
    assert of_the_day(pages, 0) == of_the_day(pages[::-1], DAYS)
