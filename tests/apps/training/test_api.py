"""Loops by the API: starting one, how far it is, and what strangers and bad requests are told."""

from __future__ import annotations

import json

import pytest

from apps.jobs.models import Job
from apps.training.models import Loop, Round

pytestmark = pytest.mark.django_db


@pytest.mark.slow
def test_what_another_loop_makes_is_made(loop_project, erin, bob, api_for):
    at = "/api/v1/projects/letters-test/recipes/tandem-ipo/ingredient/"
    assert api_for(bob).post(at).status_code == 404
    made = api_for(erin).post(at)
    assert (made.status_code, made.json()["recipe"]) == (201, "online-ipo")
    Loop.objects.update(state="done")
    assert "needs nothing that another loop could create" in api_for(erin).post(at).json()["detail"]
    assert api_for(erin).post("/api/v1/projects/letters-test/recipes/nothing/ingredient/").status_code == 404


@pytest.mark.slow
def test_the_api_starts_a_loop_and_tells_how_far_it_is(loop_project, erin, bob, api_for, drive):
    body = {
        "recipe": "iterative-dpo",
        "rounds": 1,
        "seed": 3,
        "set": {"prompts.n": 4, "draws.n": "3", "objective.beta": 0.2},
    }
    made = api_for(erin).post("/api/v1/projects/letters-test/loops/", body, format="json")
    assert made.status_code == 201
    loop = Loop.objects.get(pk=made.json()["id"])
    assert (loop.seed, loop.n_rounds, loop.config["objective"]["beta"]) == (3, 1, 0.2)
    assert made.json()["state"] == "queued"
    drive()
    seen = api_for(bob).get(f"/api/v1/loops/{loop.pk}/").json()
    assert (seen["state"], seen["round"], seen["stage"]) == ("done", 1, "done")
    assert [row["round"] for row in seen["rounds"]] == [0, 1]
    assert seen["rounds"][1]["checkpoint"] == f"iterative-dpo-{loop.pk}-round-1"
    assert json.dumps(seen)


@pytest.mark.slow
def test_the_api_tells_strangers_nothing(start, ann, bob, charlie, api_for):
    loop = start()
    for person in (ann, charlie):
        assert api_for(person).get(f"/api/v1/loops/{loop.pk}/").status_code == 404
    for person in (ann, bob, charlie):
        answer = api_for(person).post("/api/v1/projects/letters-test/loops/", {"recipe": "dpo"}, format="json")
        assert answer.status_code == 404
    assert api_for(None).get(f"/api/v1/loops/{loop.pk}/").status_code == 401
    assert Loop.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"recipe": "dpoo"}, "no recipe 'dpoo'; there are: sft"),
        ({"recipe": "iterative-dpo", "set": {"objective.beta": -1}}, "objective.beta must be a number > 0, not -1"),
        ({"recipe": "iterative-dpo", "set": {"objective.bete": 1}}, "no setting 'objective.bete'"),
        ({"recipe": "iterative-dpo", "set": {"score.judge": "nobody"}}, "no judge 'nobody'"),
        ({"recipe": "iterative-dpo", "start": "nobody"}, "no policy checkpoint 'nobody'"),
        ({"recipe": "dpo"}, "no comparison of the project has a label yet"),
        ({"recipe": "dpo", "rounds": 3}, "rounds must be 1, not 3"),
        ({"rounds": 3}, "required"),
        ({"recipe": "iterative-dpo", "rounds": 0}, "greater than or equal to 1"),
        ({"recipe": "iterative-dpo", "set": {"draws.n": [1]}}, "a setting is a text, a number or a boolean"),
        ({"recipe": "iterative-dpo", "set": "x"}, "dictionary"),
    ],
)
def test_the_api_refuses_with_one_clear_message_and_makes_nothing(loop_project, erin, api_for, body, says):
    answer = api_for(erin).post("/api/v1/projects/letters-test/loops/", body, format="json")
    assert answer.status_code == 400
    assert says in json.dumps(answer.json(), ensure_ascii=False)
    assert Loop.objects.count() == Round.objects.count() == Job.objects.count() == 0
