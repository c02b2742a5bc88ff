"""Prompts by the API: read page by page, and added all or none."""

from __future__ import annotations

import pytest

from apps.prompts.models import Prompt

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/prompts/"


def test_prompts_are_added_once_and_read_by_set_and_split(project, erin, bob, api_for, make_prompt):
    make_prompt(project, "One that was there.", prompt_set="old")
    sent = {"set": "poems", "split": "eval", "prompts": ["A poem\nof two lines", "Another"]}
    made = api_for(erin).post(AT, sent, format="json")
    assert (made.status_code, made.json()) == (201, {"set": "poems", "n_added": 2, "n_there": 0})
    assert api_for(erin).post(AT, sent, format="json").json() == {"set": "poems", "n_added": 0, "n_there": 2}
    seen = api_for(bob).get(AT, {"set": "poems", "split": "eval"}).json()
    assert (seen["n"], seen["n_pages"]) == (2, 1)
    assert [row["text"] for row in seen["prompts"]] == sent["prompts"]
    assert api_for(bob).get(AT).json()["n"] == 3
    assert api_for(bob).get(AT, {"page": 2}).json()["prompts"] == []


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"set": "x", "prompts": ["a", "b", " a "]}, "prompt 3 says the same as prompt 1"),
        ({"set": "x", "prompts": ["new", "there"]}, "prompt 2 is an evaluation prompt of the set 'main' already"),
        ({"set": "x", "prompts": []}, "may not be empty"),
        ({"set": "x", "split": "test", "prompts": ["a"]}, "is not a valid choice"),
    ],
)
def test_what_can_not_be_added_is_said_and_nothing_is(project, erin, api_for, make_prompt, sent, says):
    make_prompt(project, "there", split="eval")
    refused = api_for(erin).post(AT, sent, format="json")
    assert refused.status_code == 400
    assert says in str(refused.json())
    assert Prompt.objects.count() == 1


def test_leads_read_and_only_engineers_add(project, ann, bob, charlie, api_for):
    for person in (ann, charlie):
        assert api_for(person).get(AT).status_code == 404
    for person in (ann, bob, charlie):
        assert api_for(person).post(AT, {"set": "x", "prompts": ["a"]}, format="json").status_code == 404
    assert not Prompt.objects.exists()
