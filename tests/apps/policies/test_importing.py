"""Models that people bring in: what is looked at, refused, copied or made a job, and whose they are."""

from __future__ import annotations

import json
import os
import pickle
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.jobs.models import Job
from apps.policies import services
from apps.policies.models import Checkpoint
from apps.policies.store import ImportRefused, import_source
from prefloop.memory import PROCESS_BYTES
from prefloop.model_sources import Directory

pytestmark = pytest.mark.django_db


BASE = "/p/letters-test/policies/"


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_an_import_copies_checks_and_records(project, store, model_dir, erin, client_for):
    model_dir("tiny")
    answer = client_for(erin).post(f"{BASE}import/", {"path": "tiny", "name": "sft", "role": "policy"})
    made = Checkpoint.objects.get()
    assert answer["Location"] == f"{BASE}{made.pk}/"
    assert (made.name, made.n_parameters, made.architecture, made.created_by) == ("sft", 6, "Qwen2ForCausalLM", erin)
    assert (store / "store" / made.path / "manifest.json").exists()
    client_for(erin).post(f"{BASE}import/", {"path": "tiny", "name": "second", "role": "policy"})
    client_for(erin).post(f"{BASE}import/", {"path": "tiny", "name": "scorer", "role": "reward"})
    defaults = Checkpoint.objects.filter(is_default=True).values_list("name", flat=True)
    assert set(defaults) == {"sft", "scorer"}  # the first of each kind: a loop can start from it at once
    again = client_for(erin).post(f"{BASE}import/", {"path": "tiny", "name": "sft", "role": "policy"})
    assert "already exists" in again.content.decode()


def test_a_look_says_what_a_model_is_and_takes_before_anything_is_copied(project, store, model_dir, erin, client_for):
    folder = model_dir("tiny")
    page = client_for(erin).post(f"{BASE}import/", {"path": "tiny", "name": "", "role": "policy", "action": "look"})
    assert page.status_code == 200
    look = page.context["look"]
    assert look.facts.n_parameters == 6
    # its config.json tells no sizes: 4 bytes a number and the process, 2 in bf16
    assert (look.facts.sampling_bytes - PROCESS_BYTES, look.facts.on_gpu.sampling_bytes) == (24, 12)
    assert (look.facts.training_bytes - PROCESS_BYTES, look.facts.on_gpu.training_bytes) == (96, 108)
    assert look.facts.n_bytes == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    text = page.content.decode()
    assert "all weights" in text
    assert "It has no tokenizer" in text
    assert not Checkpoint.objects.exists()
    assert [path for path in (store / "store").rglob("*") if path.is_file()] == []
    refused = client_for(erin).post(f"{BASE}import/", {"path": "/etc", "role": "policy", "action": "look"})
    assert refused.status_code == 400
    assert "PREFLOOP_IMPORT_DIRS" in refused.content.decode()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "optimizer.pt", "rng_state.pth", "deep/extra.pkl"])
def test_a_pickle_is_refused_unopened_and_nothing_is_left(file, project, store, model_dir, erin, client_for):
    folder, canary = model_dir("evil"), store / "canary"
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(pickle.dumps(Touch(canary)))
    page = client_for(erin).post(f"{BASE}import/", {"path": "evil", "name": "sft", "role": "policy"})
    assert page.status_code == 400
    assert "may hold a pickle" in page.content.decode()
    assert not canary.exists()
    assert not Checkpoint.objects.exists()
    assert [path for path in (store / "store").rglob("*") if path.is_file()] == []
    pickle.loads((folder / file).read_bytes())  # the proof that the canary works
    assert canary.exists()


def test_a_pickle_that_appears_while_copying_is_found_in_the_copy(project, store, model_dir, monkeypatch):
    folder = model_dir("sly")
    copy = services.shutil.copytree

    def late(source, target, **options):
        copy(source, target, **options)
        (target / "pytorch_model.bin").write_bytes(b"x")

    monkeypatch.setattr(services.shutil, "copytree", late)
    with pytest.raises(services.PrefloopError, match="pickle"):
        services.checkpoint_import(project=project, name="sft", role="policy", source=Directory(folder))
    assert not Checkpoint.objects.exists()
    assert [path for path in (store / "store").rglob("*") if path.is_file()] == []


def test_custom_code_is_refused(project, store, model_dir, erin, client_for):
    folder = model_dir("coded")
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Evil"}}))
    page = client_for(erin).post(f"{BASE}import/", {"path": "coded", "name": "sft", "role": "policy"})
    assert "asks for custom code" in page.content.decode()
    assert not Checkpoint.objects.exists()


@pytest.mark.parametrize(
    "path", ["/etc", "../outside", "tiny/../../outside", "..", "/", "~", "tiny/../..", "link", ".", ""]
)
def test_only_import_directories_are_read(path, project, store, model_dir, erin, client_for):
    outside = model_dir("outside", under=".")
    model_dir("tiny")
    (store / "imports" / "projects" / "letters-test" / "link").symlink_to(outside)
    page = client_for(erin).post(f"{BASE}import/", {"path": path, "name": "sft", "role": "policy"})
    assert page.status_code == 400
    assert not Checkpoint.objects.exists()
    if path.strip():
        with pytest.raises(ImportRefused):
            import_source(path, project=project, is_operator=False)


@pytest.mark.parametrize("operator", [True, False])
def test_the_refusal_of_an_outside_path_names_the_setting_and_not_whether_it_exists(
    operator, project, store, model_dir
):
    said = []
    for path in (model_dir("outside", under="."), store / "nothing-here"):
        with pytest.raises(ImportRefused, match="PREFLOOP_IMPORT_DIRS") as refusal:
            import_source(str(path), project=project, is_operator=operator)
        said.append(str(refusal.value).replace(str(path), ""))
    assert len({text.replace("''", "") for text in said}) == 1


@pytest.mark.parametrize("name", ["../up", "a/b", "con\x00", "", "x" * 300, ".hidden", "a..b"])
def test_a_name_that_is_no_file_name_is_refused(name, project, store, model_dir, erin, client_for):
    model_dir("tiny")
    assert client_for(erin).post(f"{BASE}import/", {"path": "tiny", "name": name, "role": "policy"}).status_code == 400
    assert not Checkpoint.objects.exists()


def test_a_large_model_becomes_a_job_that_imports_it_once(project, store, model_dir, erin, client_for, monkeypatch):
    from apps.jobs.drain import drain

    model_dir("tiny")
    monkeypatch.setattr(services, "AT_ONCE_BYTES", 1)
    answer = client_for(erin).post(f"{BASE}import/", {"path": "tiny", "name": "big", "role": "reward"})
    job = Job.objects.get()
    assert answer["Location"] == f"/p/letters-test/jobs/{job.pk}/"
    assert not Checkpoint.objects.exists()
    drain(["cpu"], worker_name="test")
    job.refresh_from_db()
    assert job.state == "succeeded", job.error
    assert Checkpoint.objects.get().role == "reward"


@pytest.mark.slow
def test_a_gguf_file_becomes_a_job_that_writes_its_numbers_out(project, store, erin, client_for):
    from apps.jobs.drain import drain
    from tests.prefloop.model_sources.gguf_files import Q8_0, policy_with_merges, write_gguf

    write_gguf(store / "imports" / "projects" / "letters-test" / "small.gguf", policy_with_merges(), kind=Q8_0)
    sent = {"path": "small.gguf", "name": "small", "role": "policy"}
    look = client_for(erin).post(f"{BASE}import/", sent | {"action": "look"})
    assert "quantised (Q8_0)" in look.content.decode()
    answer = client_for(erin).post(f"{BASE}import/", sent)
    job = Job.objects.get()
    assert answer["Location"] == f"/p/letters-test/jobs/{job.pk}/"
    drain(["cpu"], worker_name="test")
    made = Checkpoint.objects.get()
    assert made.architecture == "Qwen2ForCausalLM"
    assert made.manifest["extra"] == {"imported_from": "small.gguf", "quantised": "Q8_0"}


@pytest.mark.slow
def test_a_hubs_model_is_named_on_the_page_and_comes_by_a_job(project, store, erin, client_for, model_dir, monkeypatch):
    from apps.jobs.drain import drain
    from tests.prefloop.model_sources.small_hub import COMMIT, small_hub

    with small_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(store / "home"))
        monkeypatch.setenv("PREFLOOP_HUB_OFFLINE", "0")
        hub.add("acme/tiny", model_dir("tiny"))
        sent = {"path": "hf:acme/tiny@main", "name": "tiny", "role": "policy"}
        assert "qwen2" in client_for(erin).post(f"{BASE}import/", sent | {"action": "look"}).content.decode()
        client_for(erin).post(f"{BASE}import/", sent)
        client_for(erin).post(f"{BASE}import/", sent | {"path": "hf:acme/none", "name": "none"})
        drain(["cpu"], worker_name="test")
    assert Checkpoint.objects.get().manifest["extra"] == {"imported_from": "hf:acme/tiny", "revision": COMMIT}
    assert "there is no acme/none" in Job.objects.get(title__endswith="none").error
    refused = client_for(erin).post(f"{BASE}import/", sent | {"path": "hf:../etc", "name": "x"})
    assert "is not a hub&#x27;s name" in refused.content.decode()


def test_the_command_imports_from_anywhere_and_fails_with_a_line(project, store, model_dir):
    folder = model_dir("outside", under=".")
    out = StringIO()
    options = {"project": "letters-test", "name": "sft", "json": True, "stdout": out}
    call_command("import_checkpoint", str(folder), **options)
    assert json.loads(out.getvalue())["n_parameters"] == 6
    with pytest.raises(CommandError, match="already exists"):
        call_command("import_checkpoint", str(folder), **options)
    with pytest.raises(CommandError, match="no project"):
        call_command("import_checkpoint", str(folder), project="nope", name="x")
    with pytest.raises(CommandError, match="is not a directory"):
        call_command("import_checkpoint", str(folder / "nothing"), project="letters-test", name="x")


@pytest.mark.slow
def test_what_lies_on_the_server_is_the_operators_to_give(
    project, store, model_dir, make_project, make_user, erin, client_for, settings
):
    """An engineer, of a project of their own too, reads neither the shared folder nor another project's."""
    model_dir("secret", under="imports")
    model_dir("theirs", under="imports/projects/elsewhere")
    model_dir("mine")
    model_dir("given", under="models")
    settings.PROJECT_IMPORT_DIRS = {project.slug: [store / "models"]}
    own = make_project("secret", owner=erin)  # named like a directory of the shared folder
    root = make_user("root", is_superuser=True)
    make_project("roots", owner=root)
    tried = ("secret", "projects/elsewhere/theirs", "../secret", str(store / "imports" / "secret"), "model.safetensors")
    for slug in (project.slug, own.slug):
        page = client_for(erin).get(f"/p/{slug}/policies/import/").content.decode()
        assert f"<code>{store / 'imports'}</code>" not in page
        for path in tried:
            for action in ("look", ""):
                form = {"path": path, "name": "x", "role": "policy", "action": action}
                assert client_for(erin).post(f"/p/{slug}/policies/import/", form).status_code == 400, path
    assert not Checkpoint.objects.exists()
    for who, slug, path in ((erin, project.slug, "mine"), (erin, project.slug, "given"), (root, "roots", "secret")):
        form = {"path": path, "name": path, "role": "policy"}
        assert client_for(who).post(f"/p/{slug}/policies/import/", form).status_code == 302, path


def test_a_queued_import_asks_again_who_may_read_where(project, store, model_dir, erin, make_user):
    from types import SimpleNamespace

    from apps.policies.tasks import import_checkpoint

    folder = model_dir("secret", under="imports")
    payload = {"name": "x", "role": "policy", "path": str(folder)}
    job = SimpleNamespace(project_id=project.pk, payload=payload, check=lambda: None, progress=lambda *said: None)
    job.started_by_id = erin.pk
    with pytest.raises(ImportRefused):
        import_checkpoint(job)
    job.started_by_id = make_user(is_superuser=True).pk
    assert Checkpoint.objects.get(pk=import_checkpoint(job)["checkpoint"]).name == "x"


def test_an_adapter_of_another_projects_checkpoint_brings_nothing_in(project, store, model_dir, other_project):
    """Neither with a config beside it, nor by an import command, nor as what a run has made."""
    theirs = model_dir("base", under=f"store/{other_project.slug}/checkpoints")
    sly = model_dir("sly")
    (sly / "model.safetensors").rename(sly / "adapter_model.safetensors")
    (sly / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(theirs)}))
    with pytest.raises(services.PrefloopError, match="is an adapter"):
        services.checkpoint_import(project=project, name="sly", role="policy", source=Directory(sly))
    made = store / "store" / project.slug / "checkpoints" / "made"
    made.parent.mkdir(parents=True, exist_ok=True)
    sly.rename(made)
    theirs_from_here = "../../../elsewhere/checkpoints/base"
    assert (made / theirs_from_here).resolve() == theirs.resolve()
    for base in (str(theirs), theirs_from_here, "../elsewhere/checkpoints/base", "org/name", 7, None):
        (made / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        with pytest.raises(ImportRefused):
            services.checkpoint_register(project=project, name="made", role="policy", directory=made)
    assert not Checkpoint.objects.exists()
