"""Registering checkpoints: checked, hashed, complete."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction

from apps.accounts.models import User
from apps.core.store import weights
from apps.jobs.models import Job, Turn
from apps.jobs.services import job_enqueue
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_default, checkpoint_speeds
from apps.policies.store import (
    UPLOADS,
    check_base,
    check_name,
    checkpoint_relative_path,
    import_source,
    store_path,
)
from apps.policies.uploads import upload_imported
from apps.projects.access import is_operator
from apps.projects.models import Project
from apps.quotas.services import QuotaReached, ask
from prefloop.checkpoints import MANIFEST, check_checkpoint_dir, count_parameters, publish, verify_manifest
from prefloop.model_sources import Directory, Source
from prefloop.models import ModelFacts
from prefloop.types import PrefloopError

AT_ONCE_BYTES = 200_000_000  # copied and hashed within a request; more is a job


class BadRole(PrefloopError):
    """An unknown role."""


class ImportFailed(PrefloopError):
    """The model could not be brought into the store."""


class CheckpointExists(PrefloopError):
    """A checkpoint of this name already exists."""


def checkpoint_register(
    *,
    project: Project,
    name: str,
    role: str,
    directory: Path,
    parent: Checkpoint | None = None,
    recipe: str = "",
    make_default: bool = False,
    created_by: User | None = None,
    asks: bool = False,
) -> Checkpoint:
    """Record a complete checkpoint directory that already lies in STORE_DIR, and share it with other machines.

    Registering the same directory again under the same name returns the existing row (a resumed job does so). With
    `asks` there must be room under the quota of disk; what work that has begun leaves is always kept. Raises
    UnsafeCheckpoint or DamagedCheckpoint, CheckpointExists if the name has other weights, and QuotaReached.
    """
    check_name(name)
    check_checkpoint_dir(directory)
    check_base(directory, project=project)
    manifest = verify_manifest(directory)
    relative = directory.resolve().relative_to(store_path("")).as_posix()
    config = json.loads((directory / "config.json").read_text("utf-8"))
    values: dict[str, Any] = {
        "role": role,
        "path": relative,
        "fingerprint": manifest["fingerprint"],
        "parent": parent,
        "recipe": recipe,
        "architecture": (config.get("architectures") or [config.get("model_type", "")])[0],
        "n_parameters": count_parameters(directory),
        "n_bytes": sum(file["size"] for file in manifest["files"]),
        "manifest": {key: value for key, value in manifest.items() if key != "files"},
        "created_by": created_by,
    }
    if asks:
        room_on_disk(project, values["n_bytes"], created_by)
    checkpoint_share(directory)  # before the row: who reads it may be on another machine
    with transaction.atomic():
        if asks:  # others may have come in meanwhile
            try:
                room_on_disk(project, values["n_bytes"], created_by)
            except QuotaReached:
                weights().drop(relative, manifest["fingerprint"])
                raise
        checkpoint, created = Checkpoint.objects.get_or_create(project=project, name=name, defaults=values)
        if not created and checkpoint.fingerprint != manifest["fingerprint"]:
            raise CheckpointExists(f"checkpoint {name!r} already exists, with other weights")
        if make_default:
            checkpoint_make_default(checkpoint=checkpoint)
    return checkpoint


def room_on_disk(project: Project, n_bytes: int, by: User | None = None) -> None:
    """Ask for room for another checkpoint. Raises QuotaReached."""
    with transaction.atomic():
        ask(project_id=project.pk, person_id=by.pk if by else None, disk=n_bytes)


def checkpoint_share(directory: Path) -> None:
    """Store a checkpoint of STORE_DIR for other machines; done once, it is done quickly. Raises StoreUnavailable.

    Called before a transaction that registers it, so that none is open while weights are on their way.
    """
    if weights().remote is not None:
        relative = directory.resolve().relative_to(store_path("")).as_posix()
        weights().push(relative, json.loads((directory / MANIFEST).read_text("utf-8"))["fingerprint"])


def checkpoint_make_default(*, checkpoint: Checkpoint) -> None:
    """Make this the checkpoint for sampling (or scoring) when none is named."""
    with transaction.atomic():
        Checkpoint.objects.filter(project_id=checkpoint.project_id, role=checkpoint.role, is_default=True).exclude(
            pk=checkpoint.pk
        ).update(is_default=False)
        Checkpoint.objects.filter(pk=checkpoint.pk).update(is_default=True)
        checkpoint.is_default = True


def checkpoint_import(
    *,
    project: Project,
    name: str,
    role: str,
    source: Source,
    told: Callable[[int, int, str], None] = lambda done, total, what: None,
    created_by: User | None = None,
) -> Checkpoint:
    """Bring a model into the store and register it; nothing stays behind when it is refused.

    It becomes the default of its role where the project has none: a loop can start from it at once.
    Raises UnsafeCheckpoint naming the file that must not be loaded, NoModel where there is nothing to read, and
    QuotaReached.
    """
    check_name(name)
    if role not in ("policy", "reward"):
        raise BadRole(f"a checkpoint is a policy or a reward model, not {role!r}")
    relative = checkpoint_relative_path(project.slug, name)
    final = store_path(relative)
    if final.exists() or Checkpoint.objects.filter(project=project, name=name).exists():
        raise CheckpointExists(f"checkpoint {name!r} already exists")
    room_on_disk(project, _least_bytes(source), created_by)
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.parent / f".{name}.{uuid.uuid4().hex}"
    left_behind = [staging]
    try:
        origin = source.unpack(staging, told=told)
        Directory(staging).look()  # the copy: the source could have changed since it was looked at
        publish(staging, final, extra=origin)
        left_behind.append(final)
        first = checkpoint_default(project, role) is None
        checkpoint = checkpoint_register(
            project=project, name=name, role=role, directory=final, make_default=first, created_by=created_by, asks=True
        )
        left_behind.clear()
        if role == "policy":
            speed_measure(checkpoint=checkpoint)
    except OSError as error:
        raise ImportFailed(f"{source.name} could not be brought in: {error.strerror or error}") from error
    finally:
        for path in left_behind:
            shutil.rmtree(path, ignore_errors=True)
    return checkpoint


def _least_bytes(source: Source) -> int:
    """How much a model takes as far as that is known before it is brought in; a byte where it isn't."""
    return source.n_bytes if isinstance(source, Directory) else 1


def speed_measure(*, checkpoint: Checkpoint) -> Job | None:
    """Have a worker measure how fast models of this size are here, which forecasts use; None where that is known."""
    if checkpoint_speeds(checkpoint) is not None:
        return None
    return job_enqueue(
        kind="policies.speed",
        turn=Turn.PERSON,
        queue="gpu",
        payload={"checkpoint": checkpoint.pk},
        project=checkpoint.project,
        title=f"Measure the speed of {checkpoint.name}",
        unique_key=f"policies.speed:{checkpoint.pk}",
    )


@dataclass(frozen=True, slots=True)
class ModelLook:
    """What a model is and takes, before it is imported, and what there is; bytes."""

    facts: ModelFacts
    disk_free: int
    memory: int  # of the machine that serves the pages

    @property
    def fits_on_disk(self) -> bool:
        return self.facts.n_bytes < self.disk_free


def model_look(path: str, *, project: Project, by: User) -> ModelLook:
    """Look at a model that a browser named, without copying, loading or fetching it.

    Raises ImportRefused, UnsafeCheckpoint, UnloadableModel, NoModel, as importing it would.
    """
    source = import_source(path, project=project, is_operator=is_operator(by))
    store = store_path("")
    store.mkdir(parents=True, exist_ok=True)
    return ModelLook(
        facts=source.look(),
        disk_free=shutil.disk_usage(store).free,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def checkpoint_import_start(*, project: Project, name: str, role: str, path: str, created_by: User) -> Checkpoint | Job:
    """Import the model that a browser named: a small directory at once, anything else as a job.

    Raises ImportRefused, UnsafeCheckpoint, CheckpointExists, BadName, QuotaReached: everything that is known before
    copying.
    """
    source = import_source(path, project=project, is_operator=is_operator(created_by))
    check_name(name)
    if isinstance(source, Directory):
        source.look()
    if isinstance(source, Directory) and source.n_bytes <= AT_ONCE_BYTES:
        made = checkpoint_import(project=project, name=name, role=role, source=source, created_by=created_by)
        upload_imported(source.path)
        return made
    if Checkpoint.objects.filter(project=project, name=name).exists():
        raise CheckpointExists(f"checkpoint {name!r} already exists")
    room_on_disk(project, _least_bytes(source), created_by)
    with transaction.atomic():
        return job_enqueue(
            kind="policies.import",
            turn=Turn.PERSON,
            queue="cpu",
            # an upload by the name that it has on every machine
            payload={"name": name, "role": role, "path": path if path.startswith(f"{UPLOADS}/") else source.address},
            project=project,
            title=f"Import checkpoint {name}",
            started_by=created_by,
        )
