"""Columns of a query as arrays, against the rows that the ORM reads."""

from __future__ import annotations

import numpy as np
import pytest

from apps.core.columns import coded, fetch
from apps.labels.models import Verdict
from apps.samples.models import Completion

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]


@pytest.fixture
def verdicts(project, make_comparison, make_judge, make_verdict):
    judge = make_judge(project, "j")
    for i in range(12):
        c = make_comparison(project, ("ab", "ü" * i), models=("m2", "" if i % 3 else "m,1"))
        p = None if i % 4 else i / 13
        make_verdict(c, "first" if i % 2 else "", judge=judge, state="ok" if i % 2 else "error", sample=i, p_first=p)
    return Verdict.objects.filter(judge=judge)


@pytest.mark.slow
def test_columns_hold_what_the_rows_hold(verdicts):
    found = fetch(
        verdicts,
        id=(int, "id"),
        sample=(range(12), "sample"),
        outcome=(range(-1, 2), coded("outcome", {"first": 0, "second": 1}, default=-1)),
        p=(float, "p_first"),
        state=(str, "state"),
        model=(str, "comparison__second__model_name"),
    )
    rows = sorted(verdicts.values_list("id", "sample", "outcome", "p_first", "state", "comparison__second__model_name"))
    order = np.argsort(found["id"])
    assert found["state"].names == ["error", "ok"]
    assert found["model"].names == ["m,1"]
    assert found["id"][order].tolist() == [row[0] for row in rows]
    assert found["sample"][order].tolist() == [row[1] for row in rows]
    assert found["outcome"][order].tolist() == [0 if row[2] else -1 for row in rows]
    assert [None if p != p else p for p in found["p"][order].tolist()] == [row[3] for row in rows]  # to the last bit
    assert [found["state"].names[at] for at in found["state"].place[order]] == [row[4] for row in rows]
    assert found["model"].place[order].tolist() == [0 if row[5] else -1 for row in rows]


@pytest.mark.slow
def test_no_rows_are_empty_columns(verdicts):
    found = fetch(verdicts.none() | verdicts.filter(sample=99), id=(int, "id"), p=(float, "p_first"), s=(str, "state"))
    assert (found["id"].dtype, found["id"].size, found["p"].size) == (np.int64, 0, 0)
    assert found["s"].names == []
    assert found["s"].place.size == 0


@pytest.mark.slow
def test_a_value_outside_its_range_is_refused(verdicts):
    with pytest.raises(ValueError, match="a value of sample lies outside its range"):
        fetch(verdicts, sample=(range(11), "sample"))
    with pytest.raises(ValueError, match="too wide to travel together"):
        fetch(verdicts, sample=(range(2**40), "sample"), id=(range(2**40), "id"))


@pytest.mark.slow
def test_the_database_keeps_how_long_an_answer_is(verdicts):
    rows = Completion.objects.values_list("text", "n_characters")
    assert all(n == len(text) for text, n in rows)
    assert len({n for _, n in rows}) == 12
    answer = Completion.objects.earliest("id")
    answer.text = "änders"
    answer.save()
    answer.refresh_from_db()
    assert answer.n_characters == 6
