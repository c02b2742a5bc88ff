"""The directory of a training run and the file of a snapshot, on whichever machine they are needed.

A run's directory changes while the run goes on: `TrainingRun.stored_version` names the state of it that the store has,
and is written in a transaction of whoever holds the run's job, so that a worker that lost it changes nothing.
"""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

from apps.core.store import weights
from apps.policies.models import Checkpoint
from apps.policies.store import checkpoint_here, store_path
from apps.training.models import Snapshot, TrainingRun
from prefloop.recipes.runspec import RunSpec, named_places, newest_step, stays_here
from prefloop.store import DamagedArtifact
from prefloop.store.cache import files_of


def run_dir_push(run: TrainingRun) -> str:
    """Store the run's directory as it is now and return the version, which is not the run's yet.

    Raises StoreUnavailable.
    """
    if weights().remote is None:
        return ""
    folder = store_path(run.run_dir)
    while True:
        version, newest = uuid.uuid4().hex, newest_step(folder)
        wanted = {f"{newest}/{file}" for file, _ in files_of(folder / newest)} if newest else set()
        if newest and not (folder / newest).exists():
            continue
        skip = partial(stays_here, newest=newest)
        if wanted <= weights().push(run.run_dir, version, skip=skip, changes=True):
            return version
        weights().drop(run.run_dir, version)  # a newer checkpoint took the place of that one while it was listed


def run_dir_made(run: TrainingRun) -> None:
    """Store the directory of a run that was just made, for the worker that will train."""
    if weights().remote is None:
        return
    run.stored_version = run_dir_push(run)
    run.save(update_fields=["stored_version"])
    weights().settle(run.run_dir)


def run_dir_here(run: TrainingRun, *, changes: bool = False) -> Path:
    """Return the run's directory on this machine, where it is brought if need be. `changes`: to go on with the run."""
    return weights().fetch(run.run_dir, run.stored_version, changes=changes)


def run_file(run: TrainingRun, name: str, *, last: int | None = None) -> bytes:
    """Read a file of the run's directory, or its last bytes, wherever it lies; b"" if there is none."""
    try:
        return weights().read(run.run_dir, run.stored_version, name, last=last)
    except FileNotFoundError:
        return b""


def run_file_names(run: TrainingRun) -> set[str]:
    """Name the files of the run's directory, wherever it lies."""
    return set(weights().files(run.run_dir, run.stored_version))


def snapshot_here(snapshot: Snapshot) -> Path:
    """Return a snapshot's file on this machine, where it is brought if need be."""
    return weights().fetch(snapshot.path, snapshot.sha256)


def bring_named(run: TrainingRun, spec: RunSpec) -> None:
    """Bring what the specification of a run names: models, snapshots, and directories of other runs.

    Raises NotStored, StoreUnavailable, DamagedArtifact.
    """
    store = weights()
    if store.remote is None:
        return
    for place in named_places(spec, store_path(run.run_dir)):
        if not place.is_relative_to(store.root) or place.is_relative_to(store_path(run.run_dir)):
            continue
        name = place.relative_to(store.root).as_posix()
        if checkpoint := Checkpoint.objects.filter(path=name).first():
            checkpoint_here(checkpoint)
        elif snapshot := Snapshot.objects.filter(path=name).first():
            snapshot_here(snapshot)
        elif other := TrainingRun.objects.filter(run_dir="/".join(name.split("/")[:3])).first():
            run_dir_here(other)
        else:
            raise DamagedArtifact(f"training run {run.pk} needs {name}, which no row names")
