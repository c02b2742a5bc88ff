"""The pages and the API of aligning a judge: who may, what they show, and that it ends blindness."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.judging.models import Alignment
from apps.labels.models import Judge, Override, Vote
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from apps.samples.models import Exposure
from prefloop.judging.examples import may_align

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/judges/"


@pytest.fixture
def world(project, make_comparison, make_prompt):
    there = endpoint_create(
        project=project, name="s", base_url=f"{SIMULATED_SCHEME}letters", model="m", is_simulated=True
    )
    judge = Judge.objects.create(
        project=project, name="judge", kind="llm", endpoint=there, criterion="kind and correct"
    )
    corrected = []
    for n in range(12):
        prompt = make_prompt(project, f"Write a thank-you note to Maria about the flowers, {n}.")
        pair = make_comparison(project, prompt=prompt)
        if may_align("judge", prompt.text):
            Override.objects.create(
                comparison=pair, judge=judge, rater="bob", kind="override", choice="first", judge_outcome="second",
                reason="names the flowers",
            )  # fmt: skip
            corrected.append(pair)
        else:
            Vote.objects.create(comparison=pair, rater="ann", choice="first", order="01", at=timezone.now())
    return judge, corrected


@pytest.mark.slow
def test_an_engineer_chooses_pairs_and_reasons_and_starts_a_trial(world, erin, client_for):
    judge, corrected = world
    client = client_for(erin)
    page = client.get(f"{BASE}{judge.pk}/align/")
    assert page.status_code == 200
    assert page.content.decode().count('name="examples"') == len(corrected)
    assert "names the flowers" in page.content.decode()
    assert set(Exposure.objects.filter(user=erin).values_list("comparison_id", flat=True)) == {p.pk for p in corrected}
    sent = {"examples": [corrected[0].pk], "criterion": "kind and correct", "reasons": ["0"], "n": 50, "seed": 3}
    answer = client.post(f"{BASE}{judge.pk}/align/", sent)
    made = Alignment.objects.get()
    assert answer.headers["Location"] == f"{BASE}alignments/{made.pk}/"
    assert made.criterion == "kind and correct\n- names the flowers"
    assert [one["comparison"] for one in made.examples] == [corrected[0].pk]
    assert (made.seed, made.started_by) == (3, erin)
    assert "being asked" in client.get(f"{BASE}alignments/{made.pk}/").content.decode()


@pytest.mark.slow
def test_what_is_wrong_is_said_on_the_form_and_nothing_starts(world, erin, client_for):
    judge, _ = world
    for sent, why in (
        ({"criterion": "kind and correct", "n": 50}, "nothing would change"),
        ({"examples": ["999999"], "criterion": "x", "n": 50}, "Select a valid choice"),
        ({"criterion": "x", "n": 0}, "greater than or equal to 1"),
    ):
        answer = client_for(erin).post(f"{BASE}{judge.pk}/align/", sent)
        assert answer.status_code == 422
        assert why in answer.content.decode()
    assert not Alignment.objects.exists()


def test_a_judge_that_is_not_asked_in_words_is_refused(erin, client_for, make_judge, project):
    judge = make_judge(project, "file")
    answer = client_for(erin).get(f"{BASE}{judge.pk}/align/", follow=True)
    assert "was imported: its verdicts can be used" in answer.content.decode()


@pytest.mark.slow
def test_leads_read_results_and_only_engineers_try_and_use(world, bob, ann, charlie, erin, client_for, api_for):
    judge, corrected = world
    made = Alignment.objects.create(
        judge=judge, criterion="c", examples=[], pairs=[{"comparison": corrected[0].pk, "truth": "first"}],
        figures={
            "before": 0.5, "after": 0.75, "difference": 0.25, "before_ci95": None, "after_ci95": None,
            "difference_ci95": [0.1, 0.4], "n": 4, "n_prompts": 3, "n_unread_before": 0, "n_unread_after": 1,
            "consistency_before": 0.5, "consistency_after": None, "n_changed": 1,
        },
    )  # fmt: skip
    for is_new, outcome in ((False, "second"), (True, "first")):
        made.verdicts.create(comparison=corrected[0], is_new=is_new, order="01", state="ok", outcome=outcome)
    page, api = f"{BASE}alignments/{made.pk}/", f"/api/v1/projects/letters-test/alignments/{made.pk}/"
    shown = client_for(bob).get(page)
    assert "agrees more often" in shown.content.decode()
    assert "Use as the next version" not in shown.content.decode()
    assert Exposure.objects.filter(user=bob, comparison=corrected[0]).exists()
    assert client_for(ann).get(page).status_code == client_for(charlie).get(page).status_code == 404
    assert client_for(bob).post(f"{page}use/").status_code == 404
    assert api_for(bob).get(api).json()["figures"]["difference"] == 0.25
    assert api_for(charlie).get(api).status_code == api_for(bob).post(f"{api}use/").status_code == 404
    answer = api_for(erin).post(f"{api}use/")
    assert answer.status_code == 200
    assert Judge.objects.get(pk=answer.json()["made"]).version == 2
    assert api_for(erin).post(f"{api}use/").status_code == 409
    assert "In use as version 2" in client_for(bob).get(page).content.decode()


@pytest.mark.slow
def test_programs_read_corrections_and_start_a_trial(world, erin, bob, api_for):
    judge, corrected = world
    base = "/api/v1/projects/letters-test/judges/"
    assert [one["id"] for one in api_for(bob).get(base).json()] == [judge.pk]
    told = api_for(bob).get(f"{base}{judge.pk}/corrections/").json()
    assert {one["comparison"] for one in told} == {pair.pk for pair in corrected}
    assert told[0] | {"comparison": 0} == {
        "comparison": 0, "judge_outcome": "second", "choice": "first", "reason": "names the flowers",
    }  # fmt: skip
    assert Exposure.objects.filter(user=bob).count() == len(corrected)
    ids = [one["comparison"] for one in told]
    made = api_for(erin).post(f"{base}{judge.pk}/alignments/", {"comparisons": ids}, format="json")
    assert made.status_code == 201
    assert made.json()["n_examples"] == len(ids)
    assert len(api_for(bob).get(f"{base}{judge.pk}/alignments/").json()) == 1
    wrong = api_for(erin).post(f"{base}{judge.pk}/alignments/", {"comparisons": [999999]}, format="json")
    assert (wrong.status_code, "can't be shown" in wrong.json()["detail"]) == (400, True)
