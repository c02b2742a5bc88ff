"""A model that arrives in pieces: what is taken, what is refused at once, and going on where it stopped."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from django.urls import reverse

from apps.policies import uploads
from apps.policies.models import Checkpoint
from apps.policies.uploads import ModelUpload, UploadRefused
from apps.quotas.services import QuotaReached
from prefloop.types import PrefloopError

pytestmark = pytest.mark.django_db
URL = "/p/letters-test/policies/uploads/"


@pytest.fixture
def roots(settings, tmp_path, store):
    settings.IMPORT_DIRS = [tmp_path / "imports"]
    settings.IMPORT_DIRS[0].mkdir(exist_ok=True)
    return settings.IMPORT_DIRS[0]


@pytest.fixture
def model(letters_policy_dir) -> dict[str, bytes]:
    """The files of a small policy with their bytes, as a browser has them."""
    files = [file for file in Path(letters_policy_dir).iterdir() if file.name != "manifest.json"]
    return {file.name: file.read_bytes() for file in files}


def announce(client, name, files):
    sizes = [{"name": file, "size": len(content)} for file, content in files.items()]
    return client.post(URL, json.dumps({"name": name, "files": sizes}), content_type="application/json")


def send(client, name, file, content, offset=0, piece=50_000):
    while offset < len(content):
        said = client.post(
            f"{URL}{name}/?file={file}&offset={offset}",
            content[offset : offset + piece],
            content_type="application/octet-stream",
        )
        if said.status_code != 200:
            return said
        offset = said.json()["have"]
    return None


@pytest.mark.slow
def test_a_model_arrives_in_pieces_and_is_imported_by_its_path(project, roots, erin, client_for, model):
    client = client_for(erin)
    said = announce(client, "tiny", model | {"pytorch_model.bin": b"x", "run.py": b"x"}).json()
    assert said["left_out"] == ["pytorch_model.bin", "run.py"]
    assert {file["name"] for file in said["files"]} == model.keys()
    for file, content in model.items():
        assert send(client, "tiny", file, content) is None
    following = client.post(f"{URL}tiny/finish/").json()["next"]
    page = client.get(following).content.decode()
    assert 'value="uploads/tiny"' in page
    assert "The upload has arrived" in page
    # of a page that was closed meanwhile, and of an address that somebody made up
    assert "?path=uploads/tiny&amp;name=tiny" in client.get(following.partition("?")[0]).content.decode()
    assert "The upload has arrived" not in client.get(following.replace("tiny", "other")).content.decode()
    assert "has arrived" in page
    sent = {"path": "uploads/tiny", "name": "tiny", "role": "policy"}
    assert (
        "qwen2"
        in client.post(
            f"{reverse('policies:import', args=['letters-test'])}", sent | {"action": "look"}
        ).content.decode()
    )
    client.post(reverse("policies:import", args=["letters-test"]), sent)
    assert Checkpoint.objects.get().name == "tiny"
    assert uploads.upload_list(project) == []
    assert list((roots / "projects" / project.slug / "uploads").iterdir()) == []


def test_it_goes_on_where_it_stopped(project, roots, erin, client_for, model):
    client = client_for(erin)
    announce(client, "tiny", model)
    weights = model["model.safetensors"]
    send(client, "tiny", "model.safetensors", weights[:120_000])
    again = {file["name"]: file["have"] for file in announce(client, "tiny", model).json()["files"]}
    assert again["model.safetensors"] == 120_000
    assert again["config.json"] == 0
    lost = client.post(
        f"{URL}tiny/?file=model.safetensors&offset=0", weights[:10], content_type="application/octet-stream"
    )
    assert (lost.status_code, lost.json()["have"]) == (409, 120_000)
    early = client.post(f"{URL}tiny/finish/")
    assert early.status_code == 400
    assert "not all of it has arrived" in early.json()["detail"]
    assert send(client, "tiny", "model.safetensors", weights, offset=120_000) is None
    other = announce(client, "tiny", model | {"config.json": b"{}"})
    assert "other files are on their way" in other.json()["detail"]
    client.post(f"{URL}tiny/drop/")
    assert uploads.upload_list(project) == []


def test_what_is_no_model_is_refused_before_anything_is_sent(project, roots, erin, client_for, model):
    client = client_for(erin)
    for files, says in (
        ({"pytorch_model.bin": b"x", "config.json": b"{}"}, "pytorch_model.bin can't be used"),
        ({"notes.txt": b"x"}, "choose a model's files"),
        ({"a.gguf": b"x", "config.json": b"x"}, "choose it alone"),
        ({}, "from 1 to 500 files"),
    ):
        said = announce(client, "bad", files)
        assert said.status_code == 400
        assert says in said.json()["detail"]
    assert "is not a valid name" in announce(client, "../x", model).json()["detail"]
    assert client.post(URL, "[]", content_type="application/json").status_code == 400
    assert uploads.upload_list(project) == []


def test_a_file_is_checked_as_it_arrives(project, roots, erin, client_for, model):
    client = client_for(erin)
    announce(client, "tiny", model)
    spoilt = b"\xff" * 8 + model["model.safetensors"][8:]
    said = send(client, "tiny", "model.safetensors", spoilt)
    assert "is not a valid safetensors file" in said.json()["detail"]
    coded = json.dumps({"auto_map": {"x": "y"}}).encode().ljust(len(model["config.json"]))
    assert "asks for custom code" in send(client, "tiny", "config.json", coded).json()["detail"]
    assert "larger than" in send(client, "tiny", "config.json", model["config.json"] + b" " * 9).json()["detail"]
    assert "not one of the files" in send(client, "tiny", "../../x", b"x").json()["detail"]
    assert all(file.have == 0 for file in uploads.upload_list(project)[0].files)
    announce(client, "zipped", {"model.zip": b"no zip at all"})
    assert "is not what its name says" in send(client, "zipped", "model.zip", b"no zip at all").json()["detail"]
    assert client.post(f"{URL}lost/?file=x&offset=0", b"x", content_type="text/plain").status_code == 400
    assert client.post(f"{URL}tiny/?file=config.json&offset=-1", b"x", content_type="text/plain").status_code == 400


def test_a_zip_of_a_model_becomes_its_directory(project, roots, model):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file, content in model.items():
            archive.writestr(f"tiny/{file}", content)
    content = packed.getvalue()
    uploads.upload_start(project=project, name="z", sizes={"tiny.zip": len(content)})
    uploads.upload_piece(project=project, name="z", file="tiny.zip", offset=0, piece=content)
    assert uploads.upload_finish(project=project, name="z") == "uploads/z"
    arrived = roots / "projects" / project.slug / "uploads" / "z"
    assert {file.name: file.read_bytes() for file in arrived.iterdir()} == model
    with pytest.raises(UploadRefused, match="has been uploaded already"):
        uploads.upload_start(project=project, name="z", sizes={"tiny.zip": 5})


def test_a_gguf_file_is_named_by_itself(project, roots):
    content = b"GGUF" + bytes(60)
    uploads.upload_start(project=project, name="q", sizes={"q4.gguf": len(content)})
    uploads.upload_piece(project=project, name="q", file="q4.gguf", offset=0, piece=content)
    assert uploads.upload_finish(project=project, name="q") == "uploads/q/q4.gguf"
    (upload,) = uploads.upload_list(project)
    assert (upload.name, upload.path) == ("q", "uploads/q/q4.gguf")
    uploads.upload_imported(roots / "projects" / project.slug / upload.path)
    assert uploads.upload_list(project) == []


def test_a_zip_of_something_else_is_refused_and_can_be_removed(project, roots):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("evil.pkl", b"x")
        archive.writestr("config.json", b"{}")
    content = packed.getvalue()
    uploads.upload_start(project=project, name="z", sizes={"a.zip": len(content)})
    uploads.upload_piece(project=project, name="z", file="a.zip", offset=0, piece=content)
    with pytest.raises(PrefloopError, match="may hold a pickle"):
        uploads.upload_finish(project=project, name="z")
    assert [upload.name for upload in uploads.upload_list(project)] == ["z"]
    uploads.upload_drop(project=project, name="z")
    assert uploads.upload_list(project) == []


def test_there_is_a_limit_for_what_waits(project, roots, settings):
    settings.PROJECT_QUOTAS = {"models": 1}
    files = {"config.json": 10, "model.safetensors": 700 * 2**20}
    uploads.upload_start(project=project, name="a", sizes=files)
    with pytest.raises(QuotaReached, match=r"0\.68 GiB of 1\.00 GiB are used, and this takes 0\.68 GiB"):
        uploads.upload_start(project=project, name="b", sizes=files)
    (upload,) = uploads.upload_list(project)
    assert isinstance(upload, ModelUpload)
    assert upload.path == ""


def test_only_engineers_of_the_project_upload(project, roots, bob, charlie, client_for, model):
    for user in (bob, charlie):
        assert announce(client_for(user), "tiny", model).status_code == 404
        assert client_for(user).post(f"{URL}tiny/finish/").status_code == 404
