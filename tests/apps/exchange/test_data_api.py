"""The Data page by the API: files that wait, their mapping and import, fetching, and exports."""

from __future__ import annotations

import json

import pytest

from apps.core.models import AuditEvent
from apps.exchange import uploads
from apps.exchange.models import Upload
from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.prompts.models import Prompt
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/"
TABLE = b"question,good,bad\nWrite to Maria,Dear Maria,Hey\n"


@pytest.fixture(autouse=True)
def var(settings, tmp_path):
    settings.VAR_DIR = tmp_path


def send(api, name, content):
    return api.post(f"{AT}uploads/?name={name}", content, content_type="application/octet-stream")


def record(i, **more):
    row = {"id": f"r{i}", "prompt": f"Prompt {i}", "completions": [{"text": "a"}, {"text": "b"}], **more}
    return json.dumps(row).encode() + b"\n"


@pytest.mark.slow
def test_a_table_waits_is_mapped_and_imported(project, erin, api_for):
    api = api_for(erin)
    made = send(api, "pairs.csv", TABLE)
    assert (made.status_code, made.json()["state"], made.json()["n_bytes"]) == (201, "waiting", len(TABLE))
    at = f"{AT}uploads/{made.json()['token']}/"
    assert api.get(at).json()["columns"] == ["question", "good", "bad"]
    wrong = api.put(f"{at}mapping/", {"prompt": "nothing", "chosen": "good", "rejected": "bad"}, "json")
    assert (wrong.status_code, "nothing" in wrong.json()["detail"]) == (400, True)
    mapped = api.put(f"{at}mapping/", {"prompt": "question", "chosen": "good", "rejected": "bad"}, "json").json()
    assert (mapped["can_import"], mapped["mapping"]["prompt"]) == (True, "question")
    done = api.post(f"{at}import/")
    assert (done.status_code, done.json()["n_records"], done.json()["n_comparisons"]) == (201, 1, 1)
    assert Prompt.objects.get().text == "Write to Maria"
    assert api.get(at).status_code == 404  # it waits no more
    (listed,) = api.get(f"{AT}imports/").json()
    assert (listed["name"], listed["by"], listed["n_records"]) == ("pairs.csv", "erin", 1)
    assert api.get(f"{AT}imports/{listed['id']}/").json() == done.json()


def test_a_mapping_is_taken_back(project, erin, api_for):
    api = api_for(erin)
    at = f"{AT}uploads/{send(api, 'pairs.csv', TABLE).json()['token']}/"
    api.put(f"{at}mapping/", {"prompt": "question", "chosen": "bad", "rejected": "good"}, "json")
    misspelt = api.put(f"{at}mapping/", {"promt": "question", "chosen": "good", "rejected": "bad"}, "json")
    assert (misspelt.status_code, list(misspelt.json())) == (400, ["promt"])
    assert Upload.objects.get().mapping["chosen"] == "bad"
    assert api.delete(f"{at}mapping/").status_code == 200
    assert Upload.objects.get().mapping == {}


def test_what_is_wrong_is_said_by_line_and_nothing_is_imported(project, erin, api_for):
    api = api_for(erin)
    at = f"{AT}uploads/{send(api, 'pairs.jsonl', record(1) + b'no json' + b'{}').json()['token']}/"
    assert [error["line"] for error in api.get(at).json()["errors"]] == [2]
    refused = api.post(f"{at}import/")
    assert (refused.status_code, refused.json()["errors"][0]["line"]) == (400, 2)
    assert not Prompt.objects.exists()
    assert api.delete(at).status_code == 204
    assert not Upload.objects.exists()
    for name, status in (("", 400), ("pairs.exe", 400)):
        assert send(api, name, b"x").status_code == status
    assert api.post(f"{AT}uploads/", b"x", content_type="application/octet-stream").status_code == 400


@pytest.mark.slow
def test_a_large_file_is_imported_by_a_job_and_stays_until_then(project, erin, api_for, monkeypatch):
    monkeypatch.setattr(uploads, "IMPORTED_AT_ONCE", 10)
    api = api_for(erin)
    at = f"{AT}uploads/{send(api, 'pairs.jsonl', record(1)).json()['token']}/"
    begun = api.post(f"{at}import/")
    assert begun.status_code == 202
    told = api.get(at).json()
    assert (told["job"], told["state"], told["can_import"]) == (begun.json()["job"], "queued", False)
    assert "Cancel its job first" in api.delete(at).json()["detail"]
    drain(queues=["cpu"], worker_name="w1")
    assert api.get(f"{AT}jobs/{begun.json()['job']}/").json()["state"] == "succeeded"
    assert api.get(f"{AT}imports/").json()[0]["n_records"] == 1


def test_a_data_set_is_fetched_from_a_hub(project, erin, api_for):
    api = api_for(erin)
    assert api.post(f"{AT}uploads/hub/", {"address": "not an address"}, "json").status_code == 400
    begun = api.post(f"{AT}uploads/hub/", {"address": "hf:someone/pairs"}, "json")
    assert begun.status_code == 202, begun.json()
    assert Job.objects.get(pk=begun.json()["job"]).payload["token"] == begun.json()["token"]


@pytest.mark.slow
def test_an_export_is_the_pages_and_ends_blind_voting(project, make_comparison, make_vote, erin, client_for, api_for):
    pair = make_comparison(project)
    make_vote(pair, rater="somebody")
    api = api_for(erin)
    assert "trl" in [row["name"] for row in api.get(f"{AT}exports/").json()]
    got = api.get(f"{AT}exports/records/")
    assert got.headers["Content-Disposition"] == 'attachment; filename="letters-test.records.jsonl"'
    text = b"".join(got.streaming_content)
    assert json.loads(text)["id"] == pair.prompt.external_id
    assert Exposure.objects.filter(user=erin, comparison=pair).exists()
    page = client_for(erin).get("/p/letters-test/data/export/?format=records")
    assert b"".join(page.streaming_content) == text
    assert AuditEvent.objects.filter(actor=erin, verb="data.export").count() == 2
    empty = api.get(f"{AT}exports/kto/")
    assert (empty.status_code, "detail" in empty.json()) == (400, True)  # nothing is labelled
    assert api.get(f"{AT}exports/prompt-only/?as=csv").headers["Content-Type"].startswith("text/csv")
    refused = api.get(f"{AT}exports/trl/?labels=nobody")
    assert (refused.status_code, "labels are one of" in refused.json()["detail"]) == (400, True)
    unknown = api.get(f"{AT}exports/prompt-only/?as=excel")
    assert (unknown.status_code, "as is one of" in unknown.json()["detail"]) == (400, True)
    assert api.get(f"{AT}exports/word/").status_code == 404


def test_leads_look_and_engineers_exchange(project, bob, ann, charlie, api_for):
    lead = api_for(bob)
    assert lead.get(f"{AT}imports/").json() == []
    assert lead.get(f"{AT}exports/").status_code == 200
    for refused in (lead.get(f"{AT}exports/records/"), lead.get(f"{AT}uploads/"), send(lead, "a.jsonl", b"{}")):
        assert refused.status_code == 404
    for person in (ann, charlie):
        assert api_for(person).get(f"{AT}exports/").status_code == 404
    assert not Upload.objects.exists()
