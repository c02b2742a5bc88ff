"""Taking somebody's or something's data out of files: frozen training sets and the directories of runs.

A file is read line by line; what belongs to the data that are deleted is left out, and the file is put in place of the
old one at once. Doing it again changes nothing, so a killed job starts over.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F

from apps.core.store import models, weights
from apps.exchange.models import Upload
from apps.exchange.uploads import upload_forget
from apps.policies.models import Checkpoint
from apps.policies.store import store_path
from apps.policies.uploads import upload_drop as model_upload_drop
from apps.policies.uploads import upload_list as model_uploads
from apps.projects.models import Project
from apps.training.models import KeptStep, Snapshot, TrainingRun
from apps.training.sets.directories import run_dir_here, run_dir_push, run_file, run_file_names, snapshot_here
from prefloop.store import NotStored

Check = Callable[[], None]
_GONE = object()


@dataclass(frozen=True, slots=True)
class Theirs:
    """How data that are deleted are known in files: by ids of rows and labels ("comparison:7"), and by texts.

    A text is a prompt's or an edited answer's; `messages` are prompts that are conversations.
    """

    ids: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    messages: list[Any] = field(default_factory=list)

    def has(self, value: Any) -> bool:
        """Say whether a value of a row shows that the row is theirs."""
        if isinstance(value, str):
            return value in self.texts or value in self.ids
        if isinstance(value, list):
            return value in self.messages or any(isinstance(one, str) and one in self.ids for one in value)
        return False


def pruned(value: Any, theirs: Theirs) -> Any:
    """Return JSON without the objects and texts that are theirs; `is_gone` where nothing is left of it."""
    if isinstance(value, dict):
        if any(theirs.has(one) for one in value.values()):
            return _GONE
        kept = {key: pruned(one, theirs) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one is not _GONE}
    if isinstance(value, list):
        kept_items = [pruned(one, theirs) for one in value if not (isinstance(one, str) and theirs.has(one))]
        return [one for one in kept_items if one is not _GONE]
    return value


def is_gone(value: Any) -> bool:
    return value is _GONE


def lines_pruned(path: Path, theirs: Theirs) -> bool:
    """Take what is theirs out of a file of JSON Lines; return whether anything was. Other lines keep their bytes."""
    temporary = path.with_name(f"{path.name}.pruned")
    changed = False
    with path.open("rb") as source, temporary.open("wb") as out:
        for line in source:
            try:
                value = json.loads(line)
            except ValueError:  # the end of a file whose writer was killed
                out.write(line)
                continue
            left = pruned(value, theirs)
            if left == value:
                out.write(line)
                continue
            changed = True
            if left is not _GONE:
                out.write(json.dumps(left, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    if changed:
        temporary.replace(path)
    else:
        temporary.unlink()
    return changed


def project_files_pruned(project: Project, theirs: Theirs, *, now: datetime, check: Check) -> int:
    """Take what is theirs out of every training set and run of a project; return how many of them had any.

    Checkpoints that learned from them are marked, and all that were trained from those. `check` may end the work.
    """
    n = 0
    for snapshot in Snapshot.objects.filter(project=project).order_by("id"):
        check()
        n += snapshot_pruned(snapshot, theirs, now=now)
    for run in TrainingRun.objects.filter(project=project).exclude(run_dir="").order_by("id"):
        check()
        n += run_pruned(run, theirs, now=now)
    _older_drop(project)
    return n


def _older_drop(project: Project) -> None:
    """Drop the states of training sets and runs that the store has besides those that rows name.

    One is left where a worker was killed between naming the new state and dropping the one before.
    """
    for folder, kept in (
        ("snapshots", Snapshot.objects.filter(project=project).values_list("path", "sha256")),
        ("runs", TrainingRun.objects.filter(project=project).values_list("run_dir", "stored_version")),
    ):
        stored = set(weights().names(f"{project.slug}/{folder}"))
        names = {name for name, _ in kept}
        for name, version in stored - set(kept):
            if name in names:  # not a run's checkpoints, which have versions of their own
                weights().drop(name, version)


def snapshot_pruned(snapshot: Snapshot, theirs: Theirs, *, now: datetime) -> bool:
    """Take rows out of a frozen training set. It has another hash then, and says how many rows it lost."""
    try:
        path = snapshot_here(snapshot)
    except NotStored:
        return False
    if not path.exists():
        return False
    lines_pruned(path, theirs)
    digest, n_rows = hashlib.sha256(), 0
    with path.open("rb") as file:
        for line in file:
            digest.update(line)
            n_rows += 1
    if digest.hexdigest() == snapshot.sha256:
        return False
    weights().push(snapshot.path, digest.hexdigest())
    with transaction.atomic():
        Snapshot.objects.filter(pk=snapshot.pk).update(
            sha256=digest.hexdigest(), n_pairs=n_rows, n_erased=F("n_erased") + (snapshot.n_pairs - n_rows)
        )
        learned_mark(TrainingRun.objects.filter(snapshot=snapshot), now=now)
    weights().drop(snapshot.path, snapshot.sha256)
    return True


def run_pruned(run: TrainingRun, theirs: Theirs, *, now: datetime) -> bool:
    """Take lines out of a run's files: the prompts it drew, its log of samples and steps."""
    is_begun = run.run_dir in weights().changing()  # here, and not stored since: a worker was killed in it
    if not is_begun and not any(_holds(run, name, theirs) for name in sorted(_files(run))):
        return False
    with transaction.atomic():  # first, so that a killed job does not lose it
        learned_mark([run], now=now)
    folder = run_dir_here(run, changes=True)
    for name in _files(run):
        lines_pruned(folder / name, theirs)
    if weights().remote is not None:
        before, version = run.stored_version, run_dir_push(run)
        TrainingRun.objects.filter(pk=run.pk).update(stored_version=version)
        weights().settle(run.run_dir)
        weights().drop(run.run_dir, before)
    return True


def _files(run: TrainingRun) -> set[str]:
    if weights().remote is None and not store_path(run.run_dir).is_dir():
        return set()
    try:
        return {name for name in run_file_names(run) if name.endswith(".jsonl")}
    except NotStored:
        return set()


def _holds(run: TrainingRun, name: str, theirs: Theirs) -> bool:
    for line in run_file(run, name).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if pruned(value, theirs) != value:
            return True
    return False


def learned_mark(runs: Iterable[TrainingRun], *, now: datetime) -> None:
    """Mark what these runs made, and all that was trained from it, as having learned from data that are deleted."""
    found = {run.output_id for run in runs if run.output_id is not None}
    found |= set(KeptStep.objects.filter(run__in=runs).values_list("checkpoint_id", flat=True))
    new = found
    while new:
        new = set(Checkpoint.objects.filter(parent_id__in=new).values_list("pk", flat=True)) - found
        found |= new
    Checkpoint.objects.filter(pk__in=found, learned_deleted_at=None).update(learned_deleted_at=now)


def files_delete(project: Project) -> None:
    """Remove every file of a project: checkpoints, training sets, runs, uploaded files and models.

    Raises OSError where one can't be removed, and StoreUnavailable.
    """
    for store, folder in ((weights(), project.slug), (models(), f"projects/{project.slug}")):
        for name, version in list(store.names(folder)):
            store.drop(name, version)
    tree_delete(store_path(project.slug))
    for upload in Upload.objects.filter(project=project):
        upload_forget(upload.token)
    for model in model_uploads(project):
        model_upload_drop(project=project, name=model.name)


def tree_delete(path: Path) -> None:
    """Remove a directory or a file of the store from this machine. Raises OSError where it can't be removed."""
    with suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
