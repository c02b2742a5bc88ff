"""What leads do for their people by the API: gold, practice, batches, the budget, pauses; and practising."""

from __future__ import annotations

import pytest

from apps.labels.models import GoldItem
from apps.rankings.batch_models import Batch
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/"


@pytest.mark.slow
def test_gold_is_marked_listed_and_unmarked(project, make_comparison, make_vote, bob, ann, api_for):
    api, pair = api_for(bob), make_comparison(project)
    at = f"{AT}comparisons/{pair.pk}/gold/"
    assert api.put(at, {"outcome": "first", "note": "It is kind."}, format="json").status_code == 200
    make_vote(pair, "first", user=ann)
    told = api.get(f"{AT}gold/").json()
    assert told == {
        "share": 0,
        "pairs": [
            {
                "comparison": pair.pk,
                "outcome": "first",
                "note": "It is kind.",
                "for_practice": False,
                "n_votes": 1,
                "n_right": 1,
                "n_verdicts": 0,
                "n_verdicts_right": 0,
            }
        ],
        "answers": [],
    }
    assert Exposure.objects.filter(user=bob, comparison=pair).exists()
    assert api.put(at, {"outcome": "left"}, format="json").status_code == 400
    assert api_for(ann).get(f"{AT}gold/").status_code == 404
    assert api.delete(at).status_code == 204
    assert not GoldItem.objects.exists()


def test_the_share_of_gold_is_the_forms(project, bob, api_for):
    api = api_for(bob)
    assert api.patch(f"{AT}gold/", {"share": 10}, format="json").json() == {"share": 10}
    refused = api.patch(f"{AT}gold/", {"share": 99}, format="json")
    assert refused.json()["detail"].startswith("share: Ensure this value is less")
    project.refresh_from_db()
    assert project.gold_share == 10


@pytest.fixture
def practised(project, make_comparison, bob, api_for):
    """Two practice pairs, of which half have to be right."""
    pairs = [make_comparison(project) for _ in range(2)]
    for pair in pairs:
        sent = {"outcome": "first", "note": "Kinder.", "for_practice": True}
        assert api_for(bob).put(f"{AT}comparisons/{pair.pk}/gold/", sent, format="json").status_code == 200
    assert api_for(bob).patch(f"{AT}practices/", {"bound": 50}, format="json").json() == {"bound": 50}
    return pairs


@pytest.mark.slow
def test_an_annotator_practises_and_is_told_what_was_right(practised, ann, bob, api_for):
    api = api_for(ann, "annotate")
    said = api.get(f"{AT}practice/").json()
    assert (said["n"], said["n_answered"], said["n_needed"], said["is_qualified"]) == (2, 0, 1, False)
    assert "right_choice" not in said
    for pair in practised:
        shown = api.get(f"{AT}practice/").json()["next"]
        assert shown["comparison"] == pair.pk
        right = "left" if shown["left"]["text"] == pair.first.text else "right"
        sent = {"comparison": pair.pk, "choice": right if pair == practised[0] else "tie"}
        told = api.post(f"{AT}practice/", sent, format="json").json()
        assert (told["right_choice"], told["choice"], told["note"]) == (right, sent["choice"], "Kinder.")
    assert (told["n_answered"], told["n_right"], told["is_qualified"], told["next"]) == (2, 1, True, None)
    (row,) = api_for(bob).get(f"{AT}practices/").json()["people"]
    assert (row["user"], row["n_right"], row["is_qualified"]) == ("ann", 1, True)
    other = {"comparison": 999_999, "choice": "left"}
    assert api.post(f"{AT}practice/", other, format="json").status_code == 404
    assert api.post(f"{AT}practice/", {"comparison": 1, "choice": "first"}, format="json").status_code == 400


def test_where_nobody_has_to_practise_nothing_is_answered(project, ann, api_for):
    api = api_for(ann, "annotate")
    assert api.get(f"{AT}practice/").json()["next"] is None
    assert api.post(f"{AT}practice/", {"comparison": 1, "choice": "left"}, format="json").status_code == 400


def test_a_lead_lets_somebody_in_and_has_them_practise_again(practised, ann, bob, api_for):
    api = api_for(bob)
    assert api.put(f"{AT}practices/ann/", {"qualified": True}, format="json").json()["is_qualified"] is True
    again = api.put(f"{AT}practices/ann/", {"qualified": False}, format="json").json()
    assert (again["is_qualified"], again["attempt"]) == (False, 2)
    assert api.put(f"{AT}practices/ann/", {"qualified": False}, format="json").json()["attempt"] == 2  # sent again
    assert api.put(f"{AT}practices/bob/", {"qualified": True}, format="json").status_code == 404  # no annotator
    assert api_for(ann).put(f"{AT}practices/ann/", {"qualified": True}, format="json").status_code == 404


@pytest.mark.slow
def test_a_batch_is_made_for_people_and_closed(project, make_comparison, bob, ann, charlie, api_for):
    api = api_for(bob)
    for _ in range(3):
        make_comparison(project)
    sent = {"name": "Maria", "contains": "MARIA", "most": 2, "people": ["ann"], "deadline": "2030-02-01"}
    made = api.post(f"{AT}batches/", sent, format="json")
    assert made.status_code == 201, made.json()
    told = made.json()
    assert (told["n"], told["n_left"], told["people"], told["deadline"]) == (2, 2, ["ann"], "2030-02-01T23:59:59Z")
    for wrong, says in (
        ({"people": ["charlie"]}, "people:"),  # of another project
        ({"prompt_set": "no such set"}, "prompt_set:"),
        ({"contains": "nowhere"}, "no pair that still wants answers fits"),
        ({"deadline": "tomorrow"}, "deadline"),
        ({"most": 0}, "most:"),
    ):
        refused = api.post(f"{AT}batches/", sent | wrong, format="json")
        assert (refused.status_code, says in str(refused.json())) == (400, True), wrong
    assert Batch.objects.count() == 1
    closed = api.post(f"{AT}batches/{told['id']}/close/").json()
    assert (closed["closed_at"] is not None, closed["n_left"]) == (True, 0)
    assert [row["id"] for row in api.get(f"{AT}batches/").json()] == [told["id"]]
    assert api_for(ann).get(f"{AT}batches/").status_code == 404


def test_a_budget_keeps_what_is_left_out(project, bob, ann, api_for):
    at, api = f"{AT}budget/", api_for(bob)
    said = api.patch(at, {"money": "10", "price": "0.25", "currency": "eur"}, format="json").json()
    assert (said["labels"], said["price"], said["currency"], said["n_left"]) == (40, "0.2500", "EUR", 40)
    more = api.patch(at, {"labels": 100}, format="json").json()
    assert (more["labels"], more["price"], more["cost_left"]) == (100, "0.2500", "25.0000")
    assert api.patch(at, {"labels": None}, format="json").json()["labels"] is None
    assert api.patch(at, {"currency": "euro"}, format="json").status_code == 400
    assert api.get(at).json()["currency"] == "EUR"
    assert [row["user"] for row in api.get(at).json()["workers"]] == ["ann", "bob"]


@pytest.mark.slow
def test_everybody_or_one_person_is_paused_and_goes_on(project, make_comparison, bob, ann, api_for):
    at, api = f"{AT}pause/", api_for(bob)
    make_comparison(project)
    assert api.put(at, {"paused": True, "why": "Lunch."}, format="json").json()["pause"] == "Lunch."
    assert api_for(ann, "annotate").post(f"{AT}next/").status_code == 204
    api.put(at, {"paused": True, "user": "ann"}, format="json")
    said = api.put(at, {"paused": False}, format="json").json()
    assert (said["pause"], said["workers"][0]["pause"] != "") == ("", True)
    assert api_for(ann, "annotate").post(f"{AT}next/").status_code == 204
    api.put(at, {"paused": False, "user": "ann"}, format="json")
    assert api_for(ann, "annotate").post(f"{AT}next/").status_code == 200
    assert api.put(at, {"paused": True, "user": "nobody"}, format="json").status_code == 404
    assert api.put(at, {"paused": True, "why": "x" * 301}, format="json").status_code == 400
