"""Sampling by the API: a run of a checkpoint over a prompt set, and comparisons from its answers."""

from __future__ import annotations

import pytest

from apps.jobs.models import Job
from apps.policies.models import Checkpoint
from apps.samples.models import Comparison, Completion, SamplingRun

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/samples/runs/"


@pytest.fixture
def asked(project, make_prompt):
    Checkpoint.objects.create(project=project, name="sft", role="policy", path="x", fingerprint="f")
    return [make_prompt(project), make_prompt(project), make_prompt(project, split="eval")]


def test_a_run_is_started_read_and_compared(project, asked, erin, bob, api_for):
    sent = {"prompt_set": "main", "split": "train", "checkpoint": "sft", "n": 2, "temperature": 0.7, "seed": 5}
    made = api_for(erin).post(AT, sent, format="json")
    assert made.status_code == 201
    run = SamplingRun.objects.get(pk=made.json()["id"])
    assert (run.prompt_ids, run.temperature, run.seed) == ([row.pk for row in asked[:2]], 0.7, 5)
    assert Job.objects.filter(kind="sampling.chunk").exists()
    for prompt in asked[:2]:
        for index in range(2):
            Completion.objects.create(project=project, prompt=prompt, run=run, index=index, text=f"{prompt.pk} {index}")
    seen = api_for(bob).get(f"{AT}{run.pk}/").json()
    assert (seen["n_done"], seen["n_wanted"], seen["checkpoint"], seen["endpoint"]) == (4, 4, "sft", None)
    assert api_for(bob).get(AT).json() == [seen]
    compared = api_for(erin).post(f"{AT}{run.pk}/comparisons/", {"pairing": "two"}, format="json")
    assert (compared.status_code, compared.json()) == (201, {"n_new": 2, "n_there": 0, "n_same": 0})
    assert Comparison.objects.count() == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"checkpoint": "nobody"}, "no policy checkpoint 'nobody'"),
        ({"prompt_set": "nothing"}, "no prompt set 'nothing'"),
        ({"endpoint": "big"}, "name a checkpoint or an endpoint"),
        ({"checkpoint": ""}, "name a checkpoint or an endpoint"),
        ({"n": 0}, "n must be between 1 and 1024"),
        ({"top_p": 2}, "top-p must be above 0"),
        ({"engine": "magic"}, "is not a valid choice"),
    ],
)
def test_what_can_not_be_sampled_is_said_and_nothing_starts(asked, erin, api_for, changes, says):
    refused = api_for(erin).post(AT, {"prompt_set": "main", "checkpoint": "sft"} | changes, format="json")
    assert refused.status_code == 400
    assert says in str(refused.json())
    assert not SamplingRun.objects.exists()


def test_leads_read_and_only_engineers_sample(asked, ann, bob, charlie, erin, api_for):
    sent = {"prompt_set": "main", "checkpoint": "sft"}
    run = api_for(erin).post(AT, sent, format="json").json()["id"]
    for person in (ann, charlie):
        for path in (AT, f"{AT}{run}/"):
            assert api_for(person).get(path).status_code == 404
    for person in (ann, bob, charlie):
        assert api_for(person).post(AT, sent, format="json").status_code == 404
        assert api_for(person).post(f"{AT}{run}/comparisons/", {}, format="json").status_code == 404
    assert SamplingRun.objects.count() == 1


def test_comparisons_are_made_of_all_answers(project, make_prompt, make_completion, erin, bob, api_for):
    at = "/api/v1/projects/letters-test/samples/comparisons/"
    for prompt in (make_prompt(project), make_prompt(project)):
        for text in ("a", "b", "c"):
            make_completion(prompt, text)
    made = api_for(erin).post(at, {"per_prompt": 2, "seed": 1}, format="json")
    assert (made.status_code, made.json()["n_new"]) == (201, 4)
    assert Comparison.objects.count() == 4
    assert api_for(erin).post(at, {"per_prompt": 0}, format="json").status_code == 400
    assert api_for(bob).post(at, {}, format="json").status_code == 404
