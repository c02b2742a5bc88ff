"""Flags leave with the records, and come back as flags."""

from __future__ import annotations

import json

import pytest

from apps.labels.models import PairFlag, Preference
from prefloop.records import RecordsError

pytestmark = pytest.mark.django_db

FLAGS = [
    {"rater": "ann", "pair": [0, 1], "reason": "broken", "note": "half", "at": "2026-01-02T03:04:05Z"},
    {"rater": "bob", "pair": [0, 2], "reason": "other", "resolved": "2026-01-03T00:00:00+00:00", "resolved_by": "eve"},
]


def record(flags, **more):
    return {"id": "r", "prompt": "Q", "completions": [{"text": t} for t in "abc"], "flags": flags} | more


@pytest.mark.slow
def test_they_go_round_without_loss_and_are_not_added_twice(project, bring, take, write_lines, make_project):
    path = write_lines([record(FLAGS)])
    bring(path)
    assert Preference.objects.count() == 0
    out = take(project)
    assert json.loads(out)["flags"] == [FLAGS[0], FLAGS[1] | {"resolved": "2026-01-03T00:00:00Z"}]
    other = make_project("other")
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=other)
    assert take(other) == out
    assert bring(path).added == {}
    assert PairFlag.objects.filter(comparison__project=project).count() == 2


@pytest.mark.slow
def test_a_later_file_adds_what_is_new_and_what_was_resolved_meanwhile_is_known(project, bring, write_lines):
    bring(write_lines([record(FLAGS[:1])]))
    PairFlag.objects.update(resolved_at="2026-02-01T00:00:00Z", resolved_by="lead")
    assert bring(write_lines([record(FLAGS)])).added["flags"] == 1
    assert PairFlag.objects.get(rater="ann").resolved_by == "lead"


def test_a_flagged_pair_is_compared_beside_those_that_labels_name(project, bring, write_lines):
    gold = [{"pair": [0, 1], "choice": 0}]
    bring(write_lines([record(FLAGS, gold=gold)]))
    assert PairFlag.objects.count() == 2
    assert PairFlag.objects.get(rater="bob").comparison.gold == ""


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"reason": "ugly"}, "reason is not one of 'broken'"),
        ({"at": "yesterday"}, "at is not an ISO 8601 time"),
        ({"resolved_by": "eve"}, "has resolved_by, but no time in resolved"),
        ({"choice": 1}, "unknown key 'choice'"),
        ({"rater": "x" * 200}, "rater"),
    ],
)
def test_what_is_no_flag_is_refused_by_line(bring, write_lines, changed, why):
    with pytest.raises(RecordsError, match=why):
        bring(write_lines([record([FLAGS[0] | changed])]))
    assert PairFlag.objects.count() == 0
