"""Who reads and adds prompts, what a paste refuses, and what a page costs."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.prompts.models import ImportBatch, Prompt
from apps.prompts.services import BadPrompts, prompts_paste

pytestmark = pytest.mark.django_db
LIST, ADD = "/p/letters-test/prompts/", "/p/letters-test/prompts/add/"


def n_queries(client, path):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


@pytest.mark.slow
def test_leads_read_engineers_add_and_nobody_else_learns_anything(
    make_prompt, project, alice, bob, erin, ann, charlie, client_for
):
    prompt = make_prompt(project, "Write to Maria.")
    one = f"{LIST}{prompt.pk}/"
    for person in (alice, erin, bob):
        assert client_for(person).get(LIST).status_code == 200
        assert "Write to Maria." in client_for(person).get(one).content.decode()
    for person in (ann, charlie):
        for path in (LIST, ADD, one):
            assert client_for(person).get(path).status_code == 404
            assert client_for(person).post(ADD, {"set_name": "x", "split": "train", "text": "y"}).status_code == 404
    assert client_for(bob).get(ADD).status_code == 404
    assert client_for(bob).post(ADD, {"set_name": "x", "split": "train", "text": "y"}).status_code == 404
    assert client_for(erin).get(ADD).status_code == 200
    assert Prompt.objects.count() == 1


def test_a_prompt_of_another_project_is_not_reached_through_one_s_own(make_prompt, other_project, bob, client_for):
    theirs = make_prompt(other_project, "secret")
    assert client_for(bob).get(f"{LIST}{theirs.pk}/").status_code == 404


@pytest.mark.slow
def test_the_list_is_filtered_by_the_address_and_hides_unfinished_imports(make_prompt, project, bob, client_for):
    make_prompt(project, "Write to Maria.", prompt_set="letters")
    make_prompt(project, "Say sorry to Tom.", prompt_set="apologies", split="eval")
    batch = ImportBatch.objects.create(project=project, name="half", format="records", ready=False)
    make_prompt(project, "half written", prompt_set="letters", batch=batch)
    client = client_for(bob)
    everything = client.get(LIST).content.decode()
    assert "Maria" in everything
    assert "Tom" in everything
    assert "half written" not in everything
    for query, shown, hidden in (
        ("set=letters", "Write to Maria", "Say sorry"),
        ("split=eval", "Say sorry", "Write to Maria"),
        ("q=sorry", "Say sorry", "Write to Maria"),
    ):
        page = client.get(f"{LIST}?{query}").content.decode()
        assert shown in page
        assert hidden not in page
    assert client.get(f"{LIST}?q=%00&set=%00&split=%00&page=-1").status_code == 200
    assert "No prompts found" in client.get(f"{LIST}?q=zebra").content.decode()


def test_pasting_makes_a_set_and_says_what_was_there(project, erin, client_for):
    client = client_for(erin)
    answer = client.post(
        ADD, {"set_name": "letters", "split": "train", "text": "Write to Ann.\n\n  Write to Bob. \r\n"}
    )
    assert answer.status_code == 302
    assert answer["Location"] == f"{LIST}?set=letters"
    assert sorted(Prompt.objects.values_list("text", flat=True)) == ["Write to Ann.", "Write to Bob."]
    page = client.post(
        ADD, {"set_name": "letters", "split": "train", "text": "Write to Ann.\nWrite to Cy."}, follow=True
    )
    assert "1 prompt added. 1 were already in the set." in page.content.decode()
    assert Prompt.objects.count() == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" \n\t\n", "no line with a prompt"),
        ("same\nother\nsame", "line 3 says the same as line 1"),
        ("fine\n" + "x" * 20_001, "line 2 has 20,001 characters"),
        ("new\nWrite to Maria.", "line 2 is an evaluation prompt of the set"),
    ],
)
def test_a_paste_is_refused_by_its_line_and_nothing_is_added(text, why, make_prompt, project, erin, client_for):
    make_prompt(project, "Write to Maria.", split="eval")
    page = client_for(erin).post(ADD, {"set_name": "letters", "split": "train", "text": text})
    assert page.status_code == 400
    assert why in page.content.decode()
    assert Prompt.objects.count() == 1


def test_a_prompt_can_be_in_two_sets_of_one_use(make_prompt, project):
    make_prompt(project, "Write to Maria.", prompt_set="a")
    assert prompts_paste(project=project, set_name="b", split="train", text="Write to Maria.").n_added == 1
    with pytest.raises(BadPrompts, match="needs a name"):
        prompts_paste(project=project, set_name="  ", split="train", text="x")


@pytest.mark.slow
def test_hostile_text_stays_text(make_prompt, project, bob, client_for):
    evil = "<script>alert(1)</script>\u202eevil"
    prompt = make_prompt(project, evil, prompt_set="<b>set</b>")
    for path in (LIST, f"{LIST}{prompt.pk}/", f"{LIST}?q=<script>"):
        page = client_for(bob).get(path).content.decode()
        assert "<script>alert" not in page
        assert "<b>set" not in page
        assert "\u202e" not in page


@pytest.mark.slow
def test_the_list_costs_the_same_for_ten_times_the_prompts(make_prompt, make_completion, project, bob, client_for):
    client = client_for(bob)
    for n in range(3):
        make_completion(make_prompt(project, f"one {n}"))
    client.get(LIST)
    few = n_queries(client, LIST)
    for n in range(27):
        make_completion(make_prompt(project, f"two {n}", prompt_set=f"set {n % 4}"))
    assert n_queries(client, LIST) == few
