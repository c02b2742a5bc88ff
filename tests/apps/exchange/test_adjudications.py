"""A lead's decision where people split leaves with the records, and comes back as one."""

from __future__ import annotations

import json

import pytest

from apps.labels.columns import pairs_of, votes_of
from apps.labels.models import Preference, Vote
from prefloop.records import RecordsError

pytestmark = pytest.mark.django_db

VOTES = [
    {"rater": "ann", "pair": [0, 1], "choice": 0},
    {"rater": "lead", "pair": [0, 1], "choice": 0},
    {"rater": "lead", "pair": [0, 1], "choice": 1, "reason": "it names the thing", "adjudication": True},
]


def record(votes):
    return {"id": "r", "prompt": "Q", "completions": [{"text": "a"}, {"text": "b"}], "votes": votes}


def test_it_is_stored_as_a_decision_beside_the_same_persons_vote(project, bring, write_lines):
    bring(write_lines([record(VOTES)]))
    label = Preference.objects.get()
    assert (label.outcome, label.source) == ("second", "adjudication")
    assert votes_of(project, pairs_of(project)).names == ("ann", "lead")
    assert not Vote.objects.filter(supersedes__isnull=False).exists()


def test_it_goes_round_without_loss_and_is_not_added_twice(project, bring, take, write_lines, make_project):
    path = write_lines([record(VOTES)])
    bring(path)
    out = take(project)
    assert json.loads(out)["votes"][2]["adjudication"] is True
    other = make_project("other")
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=other)
    assert take(other) == out
    assert bring(path).added == {}
    assert Vote.objects.filter(comparison__project=project).count() == 3


def test_it_is_added_to_a_record_that_is_there(project, bring, write_lines):
    bring(write_lines([record(VOTES[:2])]))
    assert Preference.objects.get().outcome == "first"
    assert bring(write_lines([record(VOTES)])).added["votes"] == 1
    assert Preference.objects.get().outcome == "second"


def test_a_word_for_it_is_refused(bring, write_lines):
    with pytest.raises(RecordsError, match="adjudication is neither true nor false"):
        bring(write_lines([record([VOTES[0] | {"adjudication": "yes"}])]))
