"""A lead's decision where people split leaves with the records, and comes back as one."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from apps.labels.columns import pairs_of, votes_of
from apps.labels.models import Preference, Vote
from apps.rankings.services import answer_edit
from apps.samples.models import Comparison
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_it_is_added_to_a_record_that_is_there(project, bring, write_lines):
    bring(write_lines([record(VOTES[:2])]))
    assert Preference.objects.get().outcome == "first"
    assert bring(write_lines([record(VOTES)])).added["votes"] == 1
    assert Preference.objects.get().outcome == "second"


def test_a_word_for_it_is_refused(bring, write_lines):
    with pytest.raises(RecordsError, match="adjudication is neither true nor false"):
        bring(write_lines([record([VOTES[0] | {"adjudication": "yes"}])]))


EDITED = {
    "id": "r",
    "prompt": "Q",
    "completions": [{"text": "a"}, {"text": "b"}, {"text": "a, and more", "parent": 0, "editor": "ann"}],
    "votes": [{"rater": "ann", "pair": [0, 2], "choice": 1, "adjudication": True, "edit": True}, VOTES[0]],
}


def test_an_edit_leaves_and_comes_back_too(project, bring, take, write_lines, make_project):
    path = write_lines([EDITED])
    bring(path)
    pair = Comparison.objects.get(origin="edit")
    assert (pair.second.parent, pair.second.editor, pair.for_people) == (pair.first, "ann", False)
    assert (label := Preference.objects.get(comparison=pair)).source == "edit", label
    out = take(project)
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=(other := make_project("other")))
    assert take(other) == out
    assert bring(path).added == {}


def test_an_edit_of_a_held_out_answer_is_held_out_where_it_comes_back(bring, write_lines):
    more = {"text": "a, and much more", "parent": 2, "editor": "ann"}
    again = EDITED["votes"][0] | {"pair": [2, 3]}
    record = EDITED | {
        "completions": [*EDITED["completions"], more, {"text": "c"}, {"text": "c!", "parent": 4, "editor": "ann"}],
        "votes": [EDITED["votes"][0], again, EDITED["votes"][0] | {"pair": [4, 5]}],
        "gold": [{"pair": [0, 1], "choice": 0}],
    }
    bring(write_lines([record]))
    found = Comparison.objects.filter(origin="edit").order_by("first_id", "id")
    assert [row.held_out for row in found] == [True, True, False]


def test_a_file_of_before_an_edit_is_known_still(project, bob, bring, write_lines):
    path = write_lines([record(VOTES)])
    bring(path)
    pair = Comparison.objects.get()
    answer_edit(comparison=pair, answer=pair.first, text="a, and more", editor=bob, now=timezone.now())
    assert bring(path).added == {}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"parent": 2}, "not the index of an earlier completion"),
        ({"parent": -1}, "not the index of a completion"),
        ({"parent": True}, "not the index of a completion"),
        ({"editor": ""}, "a parent without an editor"),
        ({"parent": None}, "an editor without a parent"),
    ],
)
def test_what_is_no_edited_answer_is_refused_by_line(bring, write_lines, changed, why):
    answers = [*EDITED["completions"][:2], EDITED["completions"][2] | changed]
    with pytest.raises(RecordsError, match=why):
        bring(write_lines([EDITED | {"completions": answers}]))


@pytest.mark.parametrize("changed", [{"choice": 0}, {"adjudication": False}])
def test_an_edit_says_that_the_edited_answer_is_better(bring, write_lines, changed):
    with pytest.raises(RecordsError, match="said by an edit"):
        bring(write_lines([EDITED | {"votes": [EDITED["votes"][0] | changed]}]))
