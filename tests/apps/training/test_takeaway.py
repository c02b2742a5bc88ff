"""Taking a checkpoint away: who may, what the zip holds, what the card says, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.core.models import AuditEvent
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_import
from apps.policies.store import store_path
from apps.training.lineage.cards import card_markdown, checkpoint_card
from apps.training.lineage.measured import Figure, in_words
from apps.training.models import Loop, Round, Snapshot, TrainingRun
from prefloop.checkpoints import DamagedCheckpoint, verify_manifest
from prefloop.model_sources import Directory

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/policies/"


@pytest.fixture
def weights(project, settings, tmp_path):
    """A checkpoint of real files: a valid safetensors file of six zeros, a config, and the card of its source."""
    settings.STORE_DIR = tmp_path / "store"
    source = tmp_path / "tiny"
    source.mkdir()
    (source / "config.json").write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}))
    (source / "README.md").write_text("licence: apache-2.0, by those who made it")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (source / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    return checkpoint_import(project=project, name="tiny", role="policy", source=Directory(source))


def _zip(response):
    return zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))


@pytest.mark.slow
def test_engineers_take_away_leads_read_the_card_and_nobody_else_learns_anything(
    weights, alice, bob, erin, ann, charlie, client_for
):
    card, download = f"{BASE}{weights.pk}/card/", f"{BASE}{weights.pk}/download/"
    for person in (alice, erin, bob):
        assert client_for(person).get(card).status_code == 200
    for person in (ann, charlie):
        assert client_for(person).get(card).status_code == 404
    for person in (ann, bob, charlie):
        assert client_for(person).get(download).status_code == 404
    assert client_for(charlie).get(f"/p/elsewhere/policies/{weights.pk}/download/").status_code == 404
    assert not AuditEvent.objects.filter(verb="checkpoint.export").exists()
    for person in (alice, erin):
        assert _zip(client_for(person).get(download)).testzip() is None
    said = AuditEvent.objects.filter(verb="checkpoint.export").order_by("id")
    assert [row.actor for row in said] == [alice, erin]
    assert said[0].data == {"fingerprint": weights.fingerprint, "how": "download"}
    assert "/download/" not in client_for(bob).get(card).content.decode()


def test_the_zip_is_a_whole_checkpoint_that_can_come_in_again(weights, erin, client_for, project, tmp_path):
    taken = _zip(client_for(erin).get(f"{BASE}{weights.pk}/download/"))
    names = ["README.md", "README.source.md", "config.json", "manifest.json", "model.safetensors"]
    assert sorted(taken.namelist()) == [f"tiny/{name}" for name in names]
    taken.extractall(tmp_path / "out")
    folder = tmp_path / "out" / "tiny"
    assert verify_manifest(folder)["fingerprint"] == weights.fingerprint
    stored = store_path(weights.path)
    assert (folder / "model.safetensors").read_bytes() == (stored / "model.safetensors").read_bytes()
    assert (folder / "README.source.md").read_text() == (stored / "README.md").read_text()
    again = checkpoint_import(project=project, name="again", role="policy", source=Directory(folder))
    assert again.fingerprint == weights.fingerprint


@pytest.mark.parametrize("damage", ["changed", "lost", "added"])
def test_damaged_weights_do_not_leave(damage, weights, erin, client_for, tmp_path):
    root = store_path(weights.path)
    if damage == "changed":
        (root / "config.json").write_text("{}")
    elif damage == "lost":
        (root / "config.json").unlink()
    else:
        (root / "more.json").write_text("{}")
    answer = client_for(erin).get(f"{BASE}{weights.pk}/download/")
    assert answer["Location"] == f"{BASE}{weights.pk}/"
    with pytest.raises(CommandError):
        call_command("export_checkpoint", "tiny", project="letters-test", out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not AuditEvent.objects.filter(verb="checkpoint.export").exists()


def test_a_file_that_changes_while_it_is_sent_breaks_the_archive_off(weights, erin, client_for):
    answer = client_for(erin).get(f"{BASE}{weights.pk}/download/")
    (store_path(weights.path) / "config.json").write_text("{}")
    sent = io.BytesIO()
    with pytest.raises(DamagedCheckpoint, match=r"config\.json changed"):
        sent.writelines(answer.streaming_content)
    assert b"Imported; its training is not known here." in sent.getvalue()
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(sent)


def test_the_command_writes_a_directory_once(weights, tmp_path):
    out = StringIO()
    options = {"project": "letters-test", "out": str(tmp_path / "out"), "json": True, "stdout": out}
    call_command("export_checkpoint", "tiny", **options)
    said = json.loads(out.getvalue())
    assert said["fingerprint"] == weights.fingerprint
    assert verify_manifest(said["directory"])["fingerprint"] == weights.fingerprint
    assert [path.name for path in Path(options["out"]).iterdir()] == ["tiny"]
    with pytest.raises(CommandError, match="is not overwritten"):
        call_command("export_checkpoint", "tiny", **options)
    with pytest.raises(CommandError, match="there are: tiny"):
        call_command("export_checkpoint", "nobody", **options)
    with pytest.raises(CommandError, match="no project"):
        call_command("export_checkpoint", "tiny", project="nope", out="x")


@pytest.mark.slow
def test_the_card_of_a_loops_checkpoint_says_what_made_it(start, drive, bob, client_for):
    loop = start(n_rounds=2, **{"objective.beta": "0.7"})
    drive()
    rounds = {row.index: row for row in Round.objects.filter(loop=loop)}
    made = rounds[2].output
    card = checkpoint_card(made)
    snapshot = TrainingRun.objects.get(output=made).snapshot
    assert {row.key: row.value for row in card.changed} == {"prompts.n": 4, "draws.n": 3, "objective.beta": 0.7}
    assert next(row for row in card.changed if row.key == "objective.beta").source
    assert [row.checkpoint.name for row in card.line] == ["start", rounds[1].output.name, made.name]
    assert [bool(row.snapshot) for row in card.line] == [False, True, True]
    assert [(judge.name, judge.version) for judge in card.judges] == [("reward-model", 1)]
    text = card_markdown(card)
    assert snapshot.sha256 in text
    assert made.fingerprint in text
    assert "| win rate against the start | 70.0 % \\[65.0, 75.0\\] |" in text
    assert f"{snapshot.n_pairs} rows, of which 0 labels are people's overrides" in text
    assert "Licence of the weights: (fill in)" in text
    command = (
        f"python manage.py run_recipe iterative-dpo --project letters-test --rounds 2 --seed {loop.seed} "
        "--start start --set prompts.n=4 --set draws.n=3 --set objective.beta=0.7"
    )
    assert command in text
    page = client_for(bob).get(f"{BASE}{made.pk}/card/").content.decode()
    assert snapshot.sha256 in page
    assert f"/p/letters-test/snapshots/{snapshot.pk}/" in page
    exported = client_for(bob).get(f"/p/letters-test/snapshots/{snapshot.pk}/")
    assert hashlib.sha256(exported.content).hexdigest() == exported["X-Content-SHA256"] == snapshot.sha256
    # the command is real: the same words start the same loop
    again = start(n_rounds=2, **dict(word.split("=") for word in command.split() if "=" in word))
    assert Loop.objects.get(pk=again.pk).config == Loop.objects.get(pk=loop.pk).config


def test_the_card_of_an_imported_checkpoint_claims_nothing(weights):
    text = card_markdown(checkpoint_card(weights))
    assert "Imported; its training is not known here." in text
    assert "It has not been measured." in text
    assert "Training set" not in text
    assert "run_recipe" not in text


def test_what_people_write_can_not_break_the_card(weights, erin):
    Checkpoint.objects.filter(pk=weights.pk).update(
        approved_at=timezone.now(), approved_by=erin, approval_note="fine | <b>\n# not a heading\n[x](javascript:1)"
    )
    weights.refresh_from_db()
    text = card_markdown(checkpoint_card(weights))
    line = next(line for line in text.splitlines() if line.startswith("| approved"))
    assert line.endswith("by erin: fine \\| \\<b> # not a heading \\[x\\](javascript:1) |")
    assert not any(line.startswith("# not") for line in text.splitlines())


@pytest.mark.slow
def test_a_snapshot_whose_file_was_changed_is_not_given_out(start, drive, bob, client_for):
    start(n_rounds=1)
    drive()
    snapshot = Snapshot.objects.get()
    with store_path(snapshot.path).open("ab") as stream:
        stream.write(b"\n")
    assert client_for(bob).get(f"/p/letters-test/snapshots/{snapshot.pk}/").status_code == 409


def test_a_small_figure_of_a_card_keeps_its_digits():
    assert in_words(Figure("kl", "KL", 0.0076, 0.0072, 0.0079, "nats")) == "0.0076 nats [0.0072, 0.0079]"
    assert in_words(Figure("kl", "KL", 0.41, 0.38, 0.44, "nats")) == "0.41 nats [0.38, 0.44]"
    assert in_words(Figure("kl", "KL", 0.0, 0.0, 0.0, "nats")) == "0.00 nats [0.00, 0.00]"
