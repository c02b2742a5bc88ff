"""A hub's data set by the page and by the command; the parts of one table in a directory or a zip."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from contextlib import contextmanager
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from apps.exchange.fetching import hub_fetch
from apps.exchange.models import Upload
from apps.exchange.tasks import fetch
from apps.exchange.uploads import upload_path
from apps.jobs.drain import drain
from apps.jobs.errors import JobFenced
from apps.jobs.models import Job
from apps.prompts.models import ImportBatch, Prompt
from prefloop.store import StoreUnavailable
from tests.prefloop.model_sources.small_hub import COMMIT, small_hub

pytestmark = pytest.mark.django_db
DATA = "/p/letters-test/data/"


def lines(first, n):
    rows = [{"prompt": f"Q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(first, first + n)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with small_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PREFLOOP_HUB_OFFLINE", "0")
        served.repositories["datasets/acme/pairs"] = {
            "README.md": b"Pairs.",
            "train-00000-of-00002.jsonl": lines(0, 30),
            "train-00001-of-00002.jsonl": lines(30, 10),
            "test-00000-of-00001.jsonl": lines(90, 3),
        }
        yield served


@pytest.mark.slow
def test_a_data_set_is_fetched_previewed_and_imported(project, erin, client_for, hub):
    client = client_for(erin)
    page = client.post(f"{DATA}hub/", {"address": "hf:acme/pairs"}, follow=True)
    assert page.status_code == 200
    assert "waiting for a worker" in page.content.decode()
    where = page.redirect_chain[-1][0]
    drain(["cpu"], worker_name="test")
    told = client.get(f"{where}?since=queued:0:")
    assert "Show the preview" in told.content.decode()
    assert told["X-Poll"] == "stop"
    preview = client.get(where).content.decode()
    assert f"hf:acme/pairs@{COMMIT}:default:train" in preview
    assert "40 records" in preview
    client.post(f"{where}import/")
    batch = ImportBatch.objects.get()
    assert (batch.name, batch.format, batch.n_records) == (f"hf:acme/pairs@{COMMIT}:default:train", "trl", 40)
    assert Prompt.objects.filter(project=project).count() == 40
    assert not Upload.objects.exists()


@pytest.mark.slow
def test_what_a_hub_has_not_is_said_and_the_waiting_row_can_be_removed(project, erin, bob, client_for, hub, settings):
    client = client_for(erin)
    where = client.post(f"{DATA}hub/", {"address": "hf:acme/pairs:lost"}).url
    drain(["cpu"], worker_name="test")
    shown = client.get(where).content.decode()
    assert "It could not be fetched." in shown
    why = shown.partition("It could not be fetched.")[2][:500]
    assert "there is no &#x27;lost&#x27; in it; there are the splits train, test" in why
    client.post(f"{where}drop/")
    assert not Upload.objects.exists()
    settings.PROJECT_QUOTAS = {"uploads": Decimal("0.001")}
    where = client.post(f"{DATA}hub/", {"address": "hf:acme/pairs"}).url
    drain(["cpu"], worker_name="test")
    assert "more than fit here" in Job.objects.latest("pk").error
    assert client_for(bob).post(f"{DATA}hub/", {"address": "hf:acme/pairs"}).status_code == 404


class Fetched:
    """A data set that is fetched without a hub."""

    def fetch(self, inside, **more):
        (inside / "train.jsonl").write_bytes(lines(0, 2))


@contextmanager
def lost():
    raise JobFenced("another worker has the job")
    yield


def test_a_worker_that_has_lost_the_job_puts_no_file_in_its_place(project, erin, monkeypatch):
    monkeypatch.setattr("apps.exchange.fetching.read_address", lambda address: Fetched())
    token = f"{secrets.token_urlsafe(24)}.zip"
    upload = Upload.objects.create(project=project, created_by=erin, token=token, name="hf:acme/pairs", n_bytes=0)
    with pytest.raises(JobFenced):
        hub_fetch(upload=upload, address="hf:acme/pairs", told=lambda *of: None, in_transaction=lost)
    assert not upload_path(upload).exists()


def test_a_fetch_is_tried_again_where_the_store_did_not_answer(project, erin, client_for, monkeypatch):
    def unavailable(**more):
        raise StoreUnavailable("s3://bucket does not answer")

    monkeypatch.setattr("apps.exchange.tasks.hub_fetch", unavailable)
    client_for(erin).post(f"{DATA}hub/", {"address": "hf:acme/pairs"})
    job = Job.objects.get()
    context = SimpleNamespace(payload=job.payload, fenced=lost)
    with pytest.raises(StoreUnavailable):
        fetch(context)


def test_an_address_that_can_not_be_one_starts_nothing(project, erin, client_for):
    page = client_for(erin).post(f"{DATA}hub/", {"address": "acme/pairs"}, follow=True)
    assert "write hf:ORG/NAME" in page.content.decode()
    assert not Job.objects.exists()
    assert not Upload.objects.exists()


@pytest.mark.slow
def test_the_command_brings_a_split_by_its_name(project, hub):
    out = io.StringIO()
    call_command("import_records", "hf:acme/pairs@main:test", project="letters-test", json=True, stdout=out)
    assert json.loads(out.getvalue())["n_records"] == 3
    assert ImportBatch.objects.get().name == f"hf:acme/pairs@{COMMIT}:default:test"
    with pytest.raises(CommandError, match="there is no acme/none"):
        call_command("import_records", "hf:acme/none", project="fresh")


@pytest.mark.slow
def test_the_parts_of_a_table_come_as_a_directory_and_as_a_zip(project, erin, client_for, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for i, content in enumerate((lines(0, 3), lines(3, 2))):
            (folder / f"{i}.jsonl").write_bytes(content)
            archive.writestr(f"{i}.jsonl", content)
    out = io.StringIO()
    call_command("import_records", str(folder), project="letters-test", json=True, stdout=out)
    assert json.loads(out.getvalue())["n_records"] == 5
    file = SimpleUploadedFile("parts.zip", packed.getvalue())
    shown = client_for(erin).post(f"{DATA}uploads/", {"file": file}, follow=True).content.decode()
    assert "There is nothing new in this file." in shown
    (folder / "2.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match="its files are not all of one kind"):
        call_command("import_records", str(folder), project="letters-test")
    (folder / "2.csv").unlink()
    (folder / "2.jsonl").write_bytes(lines(9, 1) + b"broken\n")
    with pytest.raises(CommandError, match="row 7"):
        call_command("import_records", str(folder), project="letters-test")
