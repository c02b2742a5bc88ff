"""Judges and endpoints made by the API: what their pages' forms take and refuse, said once."""

from __future__ import annotations

import json

import pytest

from apps.jobs.models import Job
from apps.labels.models import Judge, JudgingRun
from apps.policies.endpoints import endpoint_key, endpoint_update
from apps.policies.models import Checkpoint, Endpoint
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/"
SERVER = {"endpoint_name": "gpt", "base_url": "https://api.example.org/v1", "model": "m", "api_key": "sk-secret"}


@pytest.fixture
def endpoint(project):
    return Endpoint.objects.create(project=project, name="gpt", base_url="https://api.example.org/v1", model="m")


@pytest.fixture
def judge(project, endpoint):
    return Judge.objects.create(
        project=project, name="critic", kind="llm", endpoint=endpoint, criterion="kind", options={"temperature": 0.5}
    )


def test_a_judge_is_made_with_its_endpoint_and_no_reply_holds_the_key(project, erin, api_for):
    api = api_for(erin)
    made = api.post(f"{AT}judges/", {"kind": "llm", "name": "critic", **SERVER, "mode": "json"}, format="json")
    assert made.status_code == 201, made.json()
    told = made.json()
    assert (told["version"], told["mode"], told["criterion"]) == (1, "json", project.criterion)  # as the form begins
    assert told["settings"]["endpoint"] == Endpoint.objects.get().pk
    assert endpoint_key(Endpoint.objects.get()) == "sk-secret"
    for route in ("judges/", f"judges/{told['id']}/", "endpoints/", f"endpoints/{told['settings']['endpoint']}/"):
        assert "sk-secret" not in api.get(AT + route).content.decode()


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"kind": "llm"}, "name: This field is required."),
        ({"kind": "llm", "name": "a b", **SERVER}, "name:"),
        ({"kind": "llm", "name": "x", "mode": "json"}, "endpoint_name: A new endpoint needs its name."),
        ({"kind": "llm", "name": "x", **SERVER, "temperature": 9}, "temperature: Ensure this value is less"),
        ({"kind": "llm", "name": "x", **SERVER, "template": "[user] {{prompt}}"}, "template:"),
        ({"kind": "ensemble", "name": "x", "members": [999]}, "members:"),
        ({"kind": "world", "name": "x"}, "this project has no judges of the kind 'world'"),
        ({"kind": "imported", "name": "x"}, "kind"),
        ({"kind": "llm", "name": ["x"], **SERVER}, "name"),
        (["llm"], "Invalid data"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(project, erin, api_for, sent, says):
    refused = api_for(erin).post(f"{AT}judges/", sent, format="json")
    assert refused.status_code == 400
    assert says in json.dumps(refused.json())
    assert not Judge.objects.exists()
    assert not Endpoint.objects.exists()


def test_an_endpoint_is_not_left_behind_by_a_judge_that_could_not_be_made(project, erin, api_for):
    sent = {"kind": "llm", "name": "x", **SERVER, "base_url": "http://127.0.0.1:1/v1"}  # not an address to call
    refused = api_for(erin).post(f"{AT}judges/", sent, format="json")
    assert refused.status_code == 400
    assert not Endpoint.objects.exists()


def test_a_next_version_keeps_what_it_does_not_say(project, judge, erin, api_for):
    api = api_for(erin)
    made = api.post(f"{AT}judges/{judge.pk}/versions/", {"criterion": "kinder"}, format="json")
    assert (made.status_code, made.json()["version"], made.json()["name"]) == (201, 2, "critic")
    newest = Judge.objects.get(version=2)
    assert (newest.criterion, newest.options["temperature"], newest.endpoint) == ("kinder", 0.5, judge.endpoint)
    judge.refresh_from_db()
    assert (judge.version, judge.criterion) == (1, "kind")
    refused = api.post(f"{AT}judges/{judge.pk}/versions/", {"criterion": ""}, format="json")
    assert (refused.status_code, refused.json()["detail"]) == (400, "criterion: This field is required.")


def test_imported_verdicts_have_no_next_version(project, make_judge, erin, api_for):
    imported = make_judge(project, "imported")
    assert api_for(erin).post(f"{AT}judges/{imported.pk}/versions/", {}, format="json").status_code == 404
    assert api_for(erin).get(f"{AT}judges/{imported.pk}/").json()["settings"] == {}


def test_a_draft_is_tried_and_its_verdicts_are_a_look_at_labels(project, judge, make_comparison, erin, api_for):
    api, pair = api_for(erin), make_comparison(project)
    for route, sent in (
        ("judges/trials/", {"kind": "llm", "endpoint": judge.endpoint_id, "criterion": "short"}),
        (f"judges/{judge.pk}/trials/", {"criterion": "short"}),
    ):
        begun = api.post(AT + route, sent, format="json")
        assert begun.status_code == 202, begun.json()
        job = Job.objects.get(pk=begun.json()["job"])
        assert (job.kind, job.payload["judge"]["criterion"]) == ("judging.trial", "short")
        assert job.payload["comparisons"] == [pair.pk]
    assert Judge.objects.count() == 1
    assert api.get(f"{AT}judges/trials/{job.pk}/").json() == {
        "state": "queued",
        "error": "",
        "labels": {},
        "calls": [],
    }
    assert not Exposure.objects.exists()
    job.result = {"calls": [{"comparison": pair.pk, "outcome": "first"}], "labels": {str(pair.pk): {"state": "ok"}}}
    job.save()
    assert api.get(f"{AT}judges/trials/{job.pk}/").json()["calls"] == job.result["calls"]
    assert Exposure.objects.filter(user=erin, comparison=pair).exists()


@pytest.mark.parametrize("kind", ["rules", "ensemble", "policy"])
def test_a_choice_that_is_left_out_is_the_one_that_the_page_shows(project, make_judge, erin, api_for, kind):
    members = [make_judge(project, name, kind="rules").pk for name in ("one", "two")]
    policy = Checkpoint.objects.create(project=project, name="start", role="policy", path="x", fingerprint="0" * 64)
    rules = '[{"check": "words", "at_most": 9}]'
    needed = {"rules": {"rules": rules}, "ensemble": {"members": members}, "policy": {"checkpoint": policy.pk}}[kind]
    made = api_for(erin).post(f"{AT}judges/", {"kind": kind, "name": "new", **needed}, format="json")
    assert made.status_code == 201, made.json()


def test_the_labels_of_a_trial_without_calls_are_a_look_at_labels_too(project, make_comparison, erin, api_for):
    pair = make_comparison(project)
    label = {"outcome": "first", "state": "ok", "p_first": None}
    job = Job.objects.create(
        project=project,
        kind="judging.trial",
        queue="cpu",
        state="succeeded",
        result={"calls": [], "labels": {str(pair.pk): label}},
    )
    assert api_for(erin).get(f"{AT}judges/trials/{job.pk}/").json()["labels"] == {str(pair.pk): label}
    assert Exposure.objects.filter(user=erin, comparison=pair).exists()


@pytest.mark.slow
def test_what_failed_is_asked_again_and_a_run_goes_on(project, judge, make_comparison, make_verdict, erin, api_for):
    api, pairs = api_for(erin), [make_comparison(project) for _ in range(2)]
    assert api.post(f"{AT}judges/{judge.pk}/retry/").status_code == 400
    make_verdict(pairs[0], "", judge=judge, state="error")
    make_verdict(pairs[1], judge=judge)
    again = api.post(f"{AT}judges/{judge.pk}/retry/")
    assert (again.status_code, again.json()["purpose"], again.json()["n_comparisons"]) == (201, "retry", 1)
    run = JudgingRun.objects.get()
    assert run.comparison_ids == [pairs[0].pk]
    Job.objects.update(state="failed")
    went_on = api.post(f"{AT}judges/{judge.pk}/runs/{run.pk}/continue/")
    assert (went_on.status_code, went_on.json()["jobs_open"]) == (200, 1)
    assert api.post(f"{AT}judges/{judge.pk}/runs/{run.pk + 1}/continue/").status_code == 404


@pytest.mark.slow
def test_it_is_attacked_chosen_and_retired(project, judge, make_comparison, make_verdict, erin, bob, api_for):
    api = api_for(erin)
    refused = api.post(f"{AT}judges/{judge.pk}/attack/", {"n": 5}, format="json")
    assert "has no verdicts yet" in refused.json()["detail"]
    make_verdict(make_comparison(project), judge=judge)
    assert api.post(f"{AT}judges/{judge.pk}/attack/", {"n": 0}, format="json").status_code == 400
    begun = api.post(f"{AT}judges/{judge.pk}/attack/", {"n": 5}, format="json")
    assert Job.objects.get(pk=begun.json()["job"]).payload["n"] == 5
    running = api.post(f"{AT}judges/{judge.pk}/attack/", {"n": 9}, format="json")
    assert running.status_code == 400
    Job.objects.update(state="succeeded")
    more = api.post(f"{AT}judges/{judge.pk}/attack/", {"n": 9}, format="json")
    assert (more.status_code, Job.objects.get(pk=more.json()["job"]).payload["n"]) == (202, 9)
    Job.objects.update(state="failed")
    assert api.post(f"{AT}judges/{judge.pk}/attack/", {"n": 9}, format="json").status_code == 202
    chosen = api_for(bob).post(f"{AT}judges/{judge.pk}/use-for-labels/")
    assert chosen.json()["gives_labels"] is True
    project.refresh_from_db()
    assert project.label_judge == "critic"
    assert api.post(f"{AT}judges/{judge.pk}/retire/").json()["retired_at"] is not None


def test_an_endpoint_is_added_priced_and_moved(project, erin, api_for):
    api = api_for(erin)
    sent = {"name": "gpt", "base_url": "https://api.example.org/v1", "model": "m", "api_key": "sk-secret"}
    made = api.post(f"{AT}endpoints/", sent, format="json").json()
    assert (made["has_key"], made["cap_cost"]) == (True, None)
    at = f"{AT}endpoints/{made['id']}/"
    priced = api.patch(at, {"input_price": "0.15", "cap_cost": 2}, format="json").json()
    assert (priced["input_price"], priced["cap_cost"], priced["has_key"]) == ("0.1500", "2.0000", True)
    capped = api.patch(at, {"cap_tokens": 1000}, format="json").json()
    assert (capped["input_price"], capped["cap_tokens"], capped["cap_cost"]) == ("0.1500", 1000, "2.0000")
    both = api.patch(at, {"base_url": "http://127.0.0.1:1/v1", "cap_tokens": 5}, format="json")
    assert both.status_code == 400  # nothing half-done
    assert api.get(at).json() == capped
    moved = api.patch(at, {"base_url": "https://other.example.org/v1"}, format="json").json()
    assert (moved["base_url"], moved["has_key"], moved["cap_tokens"]) == ("https://other.example.org/v1", False, 1000)
    assert api.post(f"{AT}endpoints/", sent, format="json").status_code == 400  # the name is taken


def test_a_simulated_endpoint_can_not_be_changed(project, erin, api_for):
    made = Endpoint.objects.create(project=project, name="s", base_url="simulated://x", model="m", is_simulated=True)
    assert api_for(erin).patch(f"{AT}endpoints/{made.pk}/", {"cap_tokens": 1}, format="json").status_code == 404


def test_a_new_key_leaves_a_cap_that_somebody_sets_meanwhile(endpoint, erin, api_for, monkeypatch):
    def meanwhile(**said):
        Endpoint.objects.update(cap_tokens=5)
        return endpoint_update(**said)

    monkeypatch.setattr("apps.judging.endpoint_api.endpoint_update", meanwhile)
    told = api_for(erin).patch(f"{AT}endpoints/{endpoint.pk}/", {"api_key": "sk-new"}, format="json").json()
    assert (told["cap_tokens"], told["has_key"]) == (5, True)
