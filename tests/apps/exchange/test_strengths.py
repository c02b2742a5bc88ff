"""How much better an answer was found leaves with the records, and comes back with the vote."""

from __future__ import annotations

import json

import pytest

from apps.labels.models import Preference, Vote
from prefloop.records import RecordsError

pytestmark = pytest.mark.django_db

VOTES = [
    {"rater": "ann", "pair": [0, 1], "choice": 0, "strength": "much_better"},
    {"rater": "bob", "pair": [0, 1], "choice": 0, "strength": "better", "order": [1, 0]},
    {"rater": "eve", "pair": [0, 1], "choice": 1},
]


def record(votes):
    return {"id": "r", "prompt": "Q", "completions": [{"text": "a"}, {"text": "b"}], "votes": votes}


def test_it_goes_round_without_loss_and_changes_no_label(project, bring, take, write_lines, make_project):
    path = write_lines([record(VOTES)])
    bring(path)
    assert list(Vote.objects.order_by("id").values_list("strength", flat=True)) == ["much_better", "better", ""]
    label = Preference.objects.get()
    assert (label.outcome, label.p_first) == ("first", 1.0)
    out = take(project)
    assert [vote.get("strength") for vote in json.loads(out)["votes"]] == ["much_better", "better", None]
    other = make_project("other")
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=other)
    assert take(other) == out
    assert bring(path).added == {}


def test_an_answer_that_makes_no_label_goes_round_too(project, bring, take, write_lines, make_project):
    bring(write_lines([record([VOTES[0] | {"choice": "cant_judge", "strength": None}])]))
    assert (Vote.objects.get().choice, Preference.objects.count()) == ("cant_judge", 0)
    out = take(project)
    other = make_project("other")
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=other)
    assert take(other) == out


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"choice": "tie"}, "has a strength, but its choice names no better answer"),
        ({"strength": "huge"}, "strength is not one of 'better', 'much_better'"),
        ({"strength": 2}, "strength is not one of"),
        ({"strength": ["better"]}, "strength is not one of"),
    ],
)
def test_what_is_no_strength_is_refused_by_line(bring, write_lines, changed, why):
    with pytest.raises(RecordsError, match=why):
        bring(write_lines([record([VOTES[0] | changed])]))
    assert Vote.objects.count() == 0
