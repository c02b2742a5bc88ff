"""Machines whose only common place is a store: what arrives at one is used at another."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from apps.core import backup
from apps.core.store import home, models, uploads, weights
from apps.exchange import tasks as exchange_tasks
from apps.exchange.models import Upload
from apps.exchange.uploads import upload_create, upload_import, upload_list, upload_preview
from apps.jobs import checks
from apps.policies import tasks as policies_tasks
from apps.policies import uploads as model_uploads
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_bytes, checkpoint_shape
from apps.policies.services import checkpoint_import, checkpoint_import_start
from apps.policies.store import ImportRefused, checkpoint_here, checkpoint_outline, import_source
from apps.policies.takeaway import checkpoint_files, checkpoint_zip
from apps.removal.files import files_delete
from apps.removal.leftovers import WrongDatabase, names_sweep
from prefloop.checkpoints import verify_manifest
from prefloop.model_sources import Directory
from prefloop.store import StoreUnavailable
from tests.s3 import BUCKET, opened_s3

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(scope="module")
def server():
    with opened_s3() as found:
        yield found


@pytest.fixture
def on(server, settings, monkeypatch, tmp_path):
    """`on("name")`: from now on this process is on the machine of that name."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    settings.STORE_URL = f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"

    def go(name):
        settings.VAR_DIR = tmp_path / name
        settings.STORE_DIR, settings.IMPORT_DIRS = tmp_path / name / "store", [tmp_path / name / "imports"]
        settings.VAR_DIR.mkdir(exist_ok=True)

    go("web")
    return go


def job(project, user, **payload):
    return SimpleNamespace(
        project_id=project.pk,
        started_by_id=user.pk,
        payload=payload,
        check=lambda: None,
        progress=lambda *said: None,
        fenced=SimpleNamespace,
    )


def test_a_checkpoint_is_used_where_it_was_not_made(on, project, letters_policy_dir, server):
    made = checkpoint_import(project=project, name="a", role="policy", source=Directory(letters_policy_dir))
    on("worker")
    shape = checkpoint_shape(made)
    assert shape is not None
    assert shape.n_parameters == made.n_parameters
    assert checkpoint_bytes(made) > 4 * (made.n_parameters or 0)
    outline = checkpoint_outline(made)
    assert (outline / "tokenizer.json").exists()
    assert not list(outline.glob("*.safetensors"))
    assert not weights().path(made.path).exists()
    assert verify_manifest(checkpoint_here(made))["fingerprint"] == made.fingerprint
    on("another web host")
    assert len(b"".join(checkpoint_zip(made, checkpoint_files(made, card="A card.\n")))) > checkpoint_bytes(made)
    on("a host on its own")
    server.ask = lambda method, path: "unavailable"
    for remote in {weights().remote, uploads().remote}:
        remote._waits = ()
    try:
        assert (checkpoint_bytes(made), checkpoint_shape(made)) == (0, None)
        with pytest.raises(StoreUnavailable):
            checkpoint_here(made)
    finally:
        server.ask = lambda method, path: ""


def test_an_adapter_brings_the_model_that_it_belongs_to(on, project, letters_policy_dir):
    base = checkpoint_import(project=project, name="a", role="policy", source=Directory(letters_policy_dir))
    adapter = weights().path(f"{project.slug}/runs/1/final")
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../../../checkpoints/a"}))
    weights().push(f"{project.slug}/runs/1/final", "f")
    row = Checkpoint.objects.create(
        project=project, name="b", role="policy", path=f"{project.slug}/runs/1/final", fingerprint="f"
    )
    on("worker")
    checkpoint_here(row)
    assert verify_manifest(weights().path(base.path))["fingerprint"] == base.fingerprint


def test_a_file_that_one_host_received_is_imported_by_another(on, project, erin):
    line = json.dumps({"prompt": "Hello?", "chosen": "Good day.", "rejected": "No."}).encode() + b"\n"
    made = upload_create(project=project, name="rows.jsonl", chunks=[line * 3], created_by=erin)
    on("another web host")
    assert [one.pk for one in upload_list(project)] == [made.pk]
    assert not upload_preview(made).problem
    on("worker")
    told = job(project, erin, upload=made.pk)
    told.fenced = transaction.atomic
    assert exchange_tasks.run(told)["n_records"]
    assert Upload.objects.get().batch_id
    assert not uploads().path(made.token).exists()
    on("web")
    small = upload_create(project=project, name="more.jsonl", chunks=[line.replace(b"Hello", b"Hi")], created_by=erin)
    on("another web host")
    upload_import(upload=small, started_by=erin, now=timezone.now())
    assert not Upload.objects.filter(pk=small.pk).exists()


def test_a_model_that_one_host_received_is_imported_by_another(on, project, erin, letters_policy_dir, monkeypatch):
    files = {file.name: file.read_bytes() for file in letters_policy_dir.iterdir() if file.name != "manifest.json"}
    sizes = {name: len(content) for name, content in files.items()}
    model_uploads.upload_start(project=project, name="tiny", sizes=sizes)
    for name, content in files.items():
        model_uploads.upload_piece(project=project, name="tiny", file=name, offset=0, piece=content)
    path = model_uploads.upload_finish(project=project, name="tiny")
    assert model_uploads.upload_finish(project=project, name="tiny") == path, "as where it could not be stored before"
    monkeypatch.setattr("apps.policies.services.AT_ONCE_BYTES", 0)
    asked = checkpoint_import_start(project=project, name="a", role="policy", path=path, created_by=erin)
    assert asked.payload["path"] == path, "no path of this host"
    on("worker")
    policies_tasks.import_checkpoint(job(project, erin, **asked.payload))
    assert Checkpoint.objects.get().name == "a"
    assert not models().path(f"projects/{project.slug}/uploads/tiny").exists()
    on("web")
    assert model_uploads.upload_list(project) == []
    with pytest.raises(ImportRefused):
        import_source(path, project=project, is_operator=False)


def test_doctor_tries_the_store(on, server, settings, monkeypatch):
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor="postgresql"))
    assert checks._store().detail == f"{settings.STORE_URL}: written, read and removed"
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor="sqlite"))
    assert "SQLite is on this machine alone" in checks._store().detail
    settings.SECRET_KEY = "of this machine alone" * 3
    assert "SECRET_KEY is not that of the other machines" in checks._store().detail
    settings.STORE_URL = f"s3://no-such-bucket-{uuid.uuid4().hex[:8]}"
    on("worker")
    found = checks._store()
    assert (found.state, "no-such-bucket" in found.detail) == ("missing", True)
    settings.STORE_URL = ""
    assert checks._store().state == "ok"


def test_a_backup_says_where_the_files_are_and_is_restored_with_that_store_alone(on, tmp_path, settings, monkeypatch):
    monkeypatch.setattr(backup, "_dump", lambda target: target.write_text("rows"))
    monkeypatch.setattr(backup, "_has_tables", lambda: False)
    monkeypatch.setattr(backup, "_load", lambda dump: None)
    (home() / "store").mkdir()
    (home() / "store" / "weights").write_text("in the store already")
    assert backup.backup_make(tmp_path / "kept", now=timezone.now()).n_files == 0
    url, settings.STORE_URL = settings.STORE_URL, ""
    on("worker")
    with pytest.raises(backup.BackupRefused, match=f"set PREFLOOP_STORE to {url}"):
        backup.backup_restore(tmp_path / "kept")
    settings.STORE_URL = url
    backup.backup_restore(tmp_path / "kept")


def test_an_installation_moves_into_a_store(on, project, letters_policy_dir, erin, settings, capsys):
    url, settings.STORE_URL = settings.STORE_URL, ""
    with pytest.raises(CommandError, match="a directory"):
        call_command("store", "push")
    made = checkpoint_import(project=project, name="a", role="policy", source=Directory(letters_policy_dir))
    file = upload_create(project=project, name="rows.jsonl", chunks=[b"{}\n"], created_by=erin)
    settings.STORE_URL = url
    call_command("store", "push")
    assert capsys.readouterr().out == "2 stored\n"
    on("worker")
    checkpoint_here(made)
    assert uploads().fetch(file.token).read_bytes() == b"{}\n"
    call_command("store", "sweep")
    assert capsys.readouterr().out == "0 names and 0 contents removed, 0.0 MB\n"


def test_a_sweep_drops_names_that_killed_uploads_left_and_no_other(on, project, erin, letters_policy_dir, server):
    made = checkpoint_import(project=project, name="a", role="policy", source=Directory(letters_policy_dir))
    waits = upload_create(project=project, name="rows.jsonl", chunks=[b"{}\n"], created_by=erin)
    gone = upload_create(project=project, name="more.jsonl", chunks=[b"{ }\n"], created_by=erin)
    Upload.objects.filter(pk=gone.pk).delete()
    weights().push(made.path, "of a worker that was killed before it made the row")
    assert names_sweep() == 0, "an upload that is going on may be about to make its row"
    assert names_sweep(older_than=dt.timedelta(0)) == 2
    assert list(weights().names()) == [(made.path, made.fingerprint)]
    assert list(uploads().names()) == [(waits.token, "")]
    assert weights().sweep(older_than=dt.timedelta(0)) == (1, 4)
    on("worker")
    checkpoint_here(made)
    Upload.objects.all().delete()
    Checkpoint.objects.all().delete()
    with pytest.raises(WrongDatabase, match="another installation"):
        names_sweep(older_than=dt.timedelta(0))
    assert list(weights().names()) == [(made.path, made.fingerprint)]


def test_a_project_goes_from_the_store_and_what_another_shares_with_it_stays(
    on, project, other_project, erin, letters_policy_dir
):
    for one in (project, other_project):
        checkpoint_import(project=one, name="a", role="policy", source=Directory(letters_policy_dir))
    upload_create(project=project, name="rows.jsonl", chunks=[b"{}\n"], created_by=erin)
    weights().push(f"{project.slug}/checkpoints/a", "of a worker that was killed before it made the row")
    kept = Checkpoint.objects.get(project=other_project)
    files_delete(project)
    assert list(weights().names()) == [(kept.path, kept.fingerprint)]
    assert list(uploads().names()) == []
    assert weights().sweep(older_than=dt.timedelta(0)) == (1, 3), "the uploaded file"
    on("worker")
    assert verify_manifest(checkpoint_here(kept))["fingerprint"] == kept.fingerprint
