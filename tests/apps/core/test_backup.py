"""A backup holds everything or is refused, and a restore that fails leaves the place as it was."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.core import backup

pytestmark = pytest.mark.django_db


@pytest.fixture
def var(settings, tmp_path, monkeypatch):
    """A place with a file in the store; the database's own copy is tried in tests/faults/test_backup.py."""
    settings.VAR_DIR = tmp_path / "var"
    (settings.VAR_DIR / "store").mkdir(parents=True)
    (settings.VAR_DIR / "store" / "weights").write_text("weights")
    monkeypatch.setattr(backup, "_dump", lambda target: target.write_text("rows"))
    monkeypatch.setattr(backup, "_has_tables", lambda: False)
    return settings.VAR_DIR


def make(folder):
    return backup.backup_make(folder, now=timezone.now())


def test_what_cannot_be_read_is_not_left_out_in_silence(var, tmp_path):
    (var / "uploads").symlink_to(tmp_path / "another disk")
    with pytest.raises(backup.BackupRefused, match="uploads is a link that leads to nothing"):
        make(tmp_path / "kept")
    (var / "uploads").unlink()
    (var / "uploads").write_text("no directory")
    with pytest.raises(NotADirectoryError):
        make(tmp_path / "kept")
    assert backup.backup_names(tmp_path / "kept") == []


def test_what_a_killed_backup_had_begun_is_removed_by_the_next(var, tmp_path, monkeypatch):
    kept = tmp_path / "kept"

    def killed(source, target):
        target.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_copied", killed)
        patched.setattr(backup.Path, "unlink", lambda self, **more: None)  # nothing is tidied up after SIGKILL
        patched.setattr(backup.tempfile.TemporaryDirectory, "__exit__", lambda *of: None)
        with pytest.raises(KeyboardInterrupt):
            make(kept)
    begun = [*kept.glob("partial-*"), *(kept / "objects").glob("partial-*")]
    make(kept)
    assert begun
    assert not [path for path in begun if path.exists()]


def test_a_restore_whose_database_cannot_be_loaded_leaves_the_place_as_it_was(var, tmp_path, settings, monkeypatch):
    (var / "secret_key").write_text("of the backup")
    make(tmp_path / "kept")
    settings.VAR_DIR = tmp_path / "other"
    (settings.VAR_DIR / "store").mkdir(parents=True)
    (settings.VAR_DIR / "secret_key").write_text("of the other place")

    def fails(dump):
        raise backup.BackupRefused("pg_restore is not installed")

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_load", fails)
        with pytest.raises(backup.BackupRefused, match="not installed"):
            backup.backup_restore(tmp_path / "kept")
    assert sorted(path.name for path in settings.VAR_DIR.iterdir()) == ["secret_key", "store"]
    assert not list((settings.VAR_DIR / "store").iterdir())
    assert (settings.VAR_DIR / "secret_key").read_text() == "of the other place"
    loaded = []
    monkeypatch.setattr(backup, "_load", lambda dump: loaded.append(dump.read_text()))
    backup.backup_restore(tmp_path / "kept")
    assert loaded == ["rows"]
    assert (settings.VAR_DIR / "store" / "weights").read_text() == "weights"
    assert (settings.VAR_DIR / "secret_key").read_text() == "of the backup"


def test_a_new_machine_whose_store_has_no_directory_yet_is_restored(var, tmp_path, settings, monkeypatch):
    make(tmp_path / "kept")
    settings.VAR_DIR, settings.STORE_HOME = tmp_path / "other", tmp_path / "srv" / "prefloop"
    settings.VAR_DIR.mkdir()
    monkeypatch.setattr(backup, "_load", lambda dump: None)
    backup.backup_restore(tmp_path / "kept")
    assert (settings.STORE_HOME / "store" / "weights").read_text() == "weights"
