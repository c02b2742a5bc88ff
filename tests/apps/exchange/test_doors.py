"""The command, the API and the Data page: who may, what they say, and what they refuse."""

from __future__ import annotations

import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from apps.exchange import uploads
from apps.exchange.models import Upload
from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.projects.models import Project
from apps.prompts.models import Prompt

pytestmark = pytest.mark.django_db
URL = "/api/v1/projects/letters-test/records/"


def simple(i, **more):
    return {"id": f"r{i}", "prompt": f"Prompt {i}", "completions": [{"text": "a"}, {"text": "b"}], **more}


def _ndjson(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _file(rows, name="pairs.jsonl"):
    return SimpleUploadedFile(name, _ndjson(rows))


# --- command


def test_the_command_makes_a_missing_project_and_counts(write_lines, make_user):
    admin = make_user("root", is_superuser=True)
    out = io.StringIO()
    path = write_lines([simple(1, votes=[{"rater": "x", "choice": 0}])])
    call_command("import_records", str(path), project="fresh", json=True, stdout=out)
    said = json.loads(out.getvalue())
    assert (said["project"], said["format"], said["n_records"], said["n_votes"]) == ("fresh", "records", 1, 1)
    assert Project.objects.get(slug="fresh").memberships.get().user == admin


def test_a_refused_file_makes_no_project_and_names_the_line(write_lines):
    out = io.StringIO()
    rows = [simple(i) for i in range(10)]
    rows[6]["completions"] = None
    with pytest.raises(CommandError, match=r"nothing was imported: line 7: completions is missing$"):
        call_command("import_records", str(write_lines(rows)), project="fresh", json=True, stdout=out)
    assert json.loads(out.getvalue())["errors"] == [{"line": 7, "unit": "line", "message": "completions is missing"}]
    assert not Project.objects.filter(slug="fresh").exists()
    with pytest.raises(CommandError, match="no such file"):
        call_command("import_records", "/nowhere/at-all.jsonl", project="fresh")


# --- API


@pytest.mark.slow
def test_records_come_in_by_http_and_again_change_nothing(project, erin, api_for):
    client = api_for(erin)
    body = _ndjson([simple(1, votes=[{"rater": "x", "choice": 0}]), simple(2)])
    made = client.post(URL, body, content_type="application/x-ndjson")
    assert made.status_code == 201
    assert (made.json()["n_records"], made.json()["n_votes"], made.json()["n_comparisons"]) == (2, 1, 2)
    again = client.post(URL, body, content_type="application/x-ndjson")
    assert (again.status_code, again.json()["n_unchanged"]) == (200, 2)
    assert list(uploads._folder().iterdir()) == []
    assert not Upload.objects.exists()


def test_errors_come_back_by_line_and_nothing_stays(project, erin, api_for):
    body = _ndjson([simple(1)]) + b"{]\n" + _ndjson([{"id": "x"}])
    answer = api_for(erin).post(URL, body, content_type="application/x-ndjson")
    assert answer.status_code == 400
    assert [(e["line"], e["message"][:17]) for e in answer.json()["errors"]] == [
        (2, "is not valid JSON"),
        (3, "prompt is missing"),
    ]
    assert not Prompt.objects.exists()
    assert list(uploads._folder().iterdir()) == []


def test_a_body_too_large_or_packed_is_refused(project, erin, api_for, monkeypatch):
    client = api_for(erin)
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    assert client.post(URL, b"x" * 1001, content_type="application/x-ndjson").status_code == 413
    packed = client.post(URL, b"\x1f\x8b", content_type="application/x-ndjson", HTTP_CONTENT_ENCODING="gzip")
    assert packed.status_code == 415
    assert client.post(URL, b"", content_type="application/x-ndjson").status_code == 400
    assert list(uploads._folder().iterdir()) == []


def test_only_engineers_and_owners_bring_data_in(project, alice, bob, ann, charlie, api_for):
    body = _ndjson([simple(1)])
    for person, status in ((charlie, 404), (ann, 404), (bob, 404), (alice, 201), (None, 401)):
        assert api_for(person).post(URL, body, content_type="application/x-ndjson").status_code == status


# --- page


@pytest.mark.slow
def test_who_sees_the_page_and_who_takes_data_out(project, alice, bob, erin, ann, charlie, client_for):
    rights = {alice: (200, 200), erin: (200, 200), bob: (200, 404), ann: (404, 404), charlie: (404, 404)}
    for person, (page, export) in rights.items():
        client = client_for(person)
        assert client.get("/p/letters-test/data/").status_code == page
        assert client.get("/p/letters-test/data/export/?format=records").status_code == export
        sent = client.post("/p/letters-test/data/uploads/", {"file": _file([simple(1)])})
        assert sent.status_code == (302 if export == 200 else 404)
    assert b"Preview" not in client_for(bob).get("/p/letters-test/data/").content


@pytest.mark.slow
def test_a_file_is_looked_at_then_imported(project, erin, client_for):
    client = client_for(erin)
    sent = client.post("/p/letters-test/data/uploads/", {"file": _file([simple(1), simple(2)])}, follow=True)
    page = sent.content.decode()
    assert "recognised as" in page
    assert "Import 2 records" in page
    assert not Prompt.objects.exists()
    upload = Upload.objects.get()
    done = client.post(f"/p/letters-test/data/uploads/{upload.token}/import/", follow=True)
    assert "2 records are imported." in done.content.decode()
    assert Prompt.objects.count() == 2
    assert not uploads.upload_path(upload).exists()
    assert not Upload.objects.exists()


def test_problems_are_listed_by_line_and_block_the_import(project, erin, client_for):
    client = client_for(erin)
    rows = [simple(1), simple(2) | {"prompt": 7}]
    page = client.post("/p/letters-test/data/uploads/", {"file": _file(rows)}, follow=True).content.decode()
    assert "line 2" in page
    assert "prompt is neither text nor a list of messages" in page
    assert "Import 2" not in page
    client.post(f"/p/letters-test/data/uploads/{Upload.objects.get().token}/import/")
    assert not Prompt.objects.exists()
    client.post(f"/p/letters-test/data/uploads/{Upload.objects.get().token}/drop/")
    assert list(uploads._folder().iterdir()) == []


@pytest.mark.slow
def test_a_large_file_is_imported_by_a_job(project, erin, client_for, monkeypatch):
    monkeypatch.setattr(uploads, "IMPORTED_AT_ONCE", 10)
    client = client_for(erin)
    client.post("/p/letters-test/data/uploads/", {"file": _file([simple(i) for i in range(3)])})
    upload = Upload.objects.get()
    address = f"/p/letters-test/data/uploads/{upload.token}/"
    for _ in range(2):  # pressed twice: one job
        assert client.post(address + "import/").status_code == 302
    assert Job.objects.filter(kind="exchange.import").count() == 1
    assert "waiting for a worker" in client.get(address).content.decode()
    drain(["cpu"], worker_name="test")
    job = Job.objects.get()
    assert (job.state, job.error) == ("succeeded", "")
    assert Prompt.objects.count() == 3
    page = client.get(address)
    assert "3 new records" in page.content.decode()
    assert page.headers["X-Poll"] == "stop"
    assert not uploads.upload_path(upload).exists()


def test_a_bad_file_in_a_job_says_whose_fault_it_was(project, erin, client_for, monkeypatch):
    monkeypatch.setattr(uploads, "IMPORTED_AT_ONCE", 10)
    client = client_for(erin)
    client.post("/p/letters-test/data/uploads/", {"file": _file([simple(1), {"id": "x"}])})
    client.post(f"/p/letters-test/data/uploads/{Upload.objects.get().token}/import/")
    drain(["cpu"], worker_name="test")
    job = Job.objects.get()
    assert (job.state, job.failure_class) == ("failed", "data")
    assert job.error.startswith("line 2: prompt is missing")


def test_a_files_own_name_names_nothing_on_disk(project, erin, client_for):
    client = client_for(erin)
    client.post("/p/letters-test/data/uploads/", {"file": _file([simple(1)], name="..%2f..\\../evil\u202e.jsonl")})
    upload = Upload.objects.get()
    assert "evil" not in upload.token
    assert uploads.upload_path(upload).parent == uploads._folder()
    refused = client.post("/p/letters-test/data/uploads/", {"file": _file([], name="page.html")}, follow=True)
    assert "ends in none of" in refused.content.decode()
    assert Upload.objects.count() == 1


def test_an_upload_over_the_limit_is_refused_before_it_is_read(project, erin, client_for, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 100)
    answer = client_for(erin).post(
        "/p/letters-test/data/uploads/", {"file": _file([simple(i) for i in range(2000)])}, follow=True
    )
    assert "is larger than" in answer.content.decode()
    assert list(uploads._folder().iterdir()) == []


def test_somebody_elses_upload_is_not_there(project, erin, alice, charlie, other_project, client_for):
    client_for(erin).post("/p/letters-test/data/uploads/", {"file": _file([simple(1)])})
    token = Upload.objects.get().token
    for path in (f"/p/letters-test/data/uploads/{token}/", f"/p/elsewhere/data/uploads/{token}/"):
        assert client_for(charlie).get(path).status_code == 404
    assert client_for(charlie).post(f"/p/elsewhere/data/uploads/{token}/drop/").status_code == 404
    assert Upload.objects.count() == 1


def test_an_export_is_a_file_to_keep(project, erin, client_for, bring, write_lines):
    text = '=1+1<script>alert("x")</script>'
    row = simple(1) | {"completions": [{"text": text}, {"text": "b"}], "votes": [{"rater": "x", "choice": 0}]}
    bring(write_lines([row]))
    answer = client_for(erin).get("/p/letters-test/data/export/?format=trl")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="letters-test.trl.jsonl"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(b"".join(answer.streaming_content))["chosen"] == text
    page = client_for(erin).get("/p/letters-test/data/?format=trl").content.decode()
    assert "<script>alert" not in page
    assert client_for(erin).get("/p/letters-test/data/export/?format=nope").status_code == 302
