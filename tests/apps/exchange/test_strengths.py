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


@pytest.mark.slow
def test_how_a_pair_came_leaves_and_comes_back_too(project, bring, take, write_lines, make_project):
    said = [VOTES[0] | {"by_chance": True}, VOTES[1] | {"by_chance": False}, VOTES[2]]
    bring(write_lines([record(said)]))
    assert list(Vote.objects.order_by("id").values_list("by_chance", flat=True)) == [True, False, None]
    out = take(project)
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=(other := make_project("other")))
    assert take(other) == out
    bring(write_lines([record(VOTES)], "older.jsonl"))
    assert Vote.objects.filter(comparison__project=project).count() == 3, "known by what was said, not by how it came"
    with pytest.raises(RecordsError, match="by_chance is neither"):
        bring(write_lines([record([VOTES[0] | {"by_chance": 1}])], "bad.jsonl"))


def test_short_reasons_leave_and_come_back_too(project, bring, take, write_lines, make_project):
    said = [VOTES[0] | {"reasons": ["safer", "too long"]}, VOTES[1], VOTES[2] | {"choice": "skip", "reasons": ["dull"]}]
    bring(write_lines([record(said)]))
    assert list(Vote.objects.order_by("id").values_list("reasons", flat=True)) == [["safer", "too long"], [], ["dull"]]
    out = take(project)
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=(other := make_project("other")))
    assert take(other) == out


@pytest.mark.parametrize("reasons", ["safer", [1], ["a", "a"], ["x" * 41], [""], ["a\nb"]])
def test_what_is_no_list_of_short_reasons_is_refused_by_line(bring, write_lines, reasons):
    with pytest.raises(RecordsError, match=r"votes\[0\].reasons"):
        bring(write_lines([record([VOTES[0] | {"reasons": reasons}])]))
    assert Vote.objects.count() == 0


MARKED = VOTES[2] | {
    "marks": [
        {"completion": 0, "start": 6, "end": 7, "kind": "bad", "reason": "too long", "text": "🌷"},
        {"completion": 2, "start": 0, "end": 3, "kind": "good", "text": "one"},
    ],
    "pair": [2, 0],
}


def record_marked(vote):
    texts = ("Maria 🌷", "no", "one more")
    return {"id": "r", "prompt": "Q", "completions": [{"text": text} for text in texts], "votes": [vote]}


def test_marks_leave_and_come_back_too(project, bring, take, write_lines, make_project):
    bring(write_lines([record_marked(MARKED)]))
    vote = Vote.objects.get()
    assert [(one["answer"], one["start"], one["end"]) for one in vote.marks] == [("first", 6, 7), ("second", 0, 3)]
    assert vote.comparison.second.text == "one more"
    out = take(project)
    assert json.loads(out)["votes"][0]["marks"] == MARKED["marks"]
    bring(write_lines([out.decode().rstrip()], "again.jsonl"), project=(other := make_project("other")))
    assert take(other) == out
    assert bring(write_lines([record_marked(MARKED)], "same.jsonl")).added == {}, "known by all that it says"


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        ({"end": 99, "text": None}, "does not lie in the answer, which has 7 characters"),
        ({"completion": 1, "text": None}, r"marks\[0\].completion is not one of the vote's pair"),
        ({"start": 5, "end": 7}, r"marks\[0\].text is not what the answer has there"),
        ({"kind": "fine"}, "a mark is one of good, bad"),
        ({"start": "6"}, "three whole numbers"),
        ({"reason": "a\nb"}, "a short reason is one line"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_what_is_no_mark_is_refused_by_line(bring, write_lines, mark, why):
    marks = [MARKED["marks"][0] | mark, MARKED["marks"][1]]
    with pytest.raises(RecordsError, match=why):
        bring(write_lines([record_marked(MARKED | {"marks": marks})]))
    assert Vote.objects.count() == 0
