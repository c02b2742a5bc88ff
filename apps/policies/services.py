"""Checkpoints come in by one door: checked, hashed, complete."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction

from apps.accounts.models import User
from apps.jobs.models import Job
from apps.jobs.services import job_enqueue
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_default
from apps.policies.store import check_name, checkpoint_relative_path, import_source, store_path
from apps.projects.models import Project
from prefloop.checkpoints import MANIFEST, check_checkpoint_dir, publish, verify_manifest
from prefloop.models import ModelFacts, model_facts
from prefloop.types import PrefloopError

AT_ONCE_BYTES = 200_000_000  # copied and hashed within a request; more is a job


class BadRole(PrefloopError):
    """A role that no checkpoint has."""


class ImportFailed(PrefloopError):
    """The directory could not be copied into the store."""


class CheckpointExists(PrefloopError):
    """A checkpoint of this name is there already."""


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
) -> Checkpoint:
    """Record a complete checkpoint directory that already lies in the store.

    Registering the same directory again under the same name returns the row that there is (a resumed job does so).
    Raises UnsafeCheckpoint or DamagedCheckpoint, and CheckpointExists where the name means other weights.
    """
    check_name(name)
    check_checkpoint_dir(directory)
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
        "manifest": {key: value for key, value in manifest.items() if key != "files"},
        "created_by": created_by,
    }
    with transaction.atomic():
        checkpoint, created = Checkpoint.objects.get_or_create(project=project, name=name, defaults=values)
        if not created and checkpoint.fingerprint != manifest["fingerprint"]:
            raise CheckpointExists(f"checkpoint {name!r} is there already, with other weights")
        if make_default:
            checkpoint_make_default(checkpoint=checkpoint)
    return checkpoint


def checkpoint_make_default(*, checkpoint: Checkpoint) -> None:
    """Make this the checkpoint that sampling (or scoring) takes where none is named."""
    with transaction.atomic():
        Checkpoint.objects.filter(project_id=checkpoint.project_id, role=checkpoint.role, is_default=True).exclude(
            pk=checkpoint.pk
        ).update(is_default=False)
        Checkpoint.objects.filter(pk=checkpoint.pk).update(is_default=True)
        checkpoint.is_default = True


def checkpoint_import(
    *, project: Project, name: str, role: str, source: Path, created_by: User | None = None
) -> Checkpoint:
    """Copy a model directory into the store and register it; nothing stays behind when it is refused.

    It becomes the default of its role where the project has none: a loop can start from it at once.
    Raises UnsafeCheckpoint naming the file that must not be loaded.
    """
    check_name(name)
    check_checkpoint_dir(source)
    if role not in ("policy", "reward"):
        raise BadRole(f"a checkpoint is a policy or a reward model, not {role!r}")
    model_facts(source, n_parameters=count_parameters(source))  # refuses an adapter without its model
    relative = checkpoint_relative_path(project.slug, name)
    final = store_path(relative)
    if final.exists() or Checkpoint.objects.filter(project=project, name=name).exists():
        raise CheckpointExists(f"checkpoint {name!r} is there already")
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.parent / f".{name}.{uuid.uuid4().hex}"
    left_behind = [staging]
    try:
        shutil.copytree(source, staging, symlinks=False, ignore=shutil.ignore_patterns(MANIFEST, ".*"))
        check_checkpoint_dir(staging)  # the copy: the source could have changed since it was looked at
        publish(staging, final, extra={"imported_from": source.name})
        left_behind.append(final)
        first = checkpoint_default(project, role) is None
        checkpoint = checkpoint_register(
            project=project, name=name, role=role, directory=final, make_default=first, created_by=created_by
        )
        left_behind.clear()
    except OSError as error:
        raise ImportFailed(f"{source.name} could not be copied: {error.strerror or error}") from error
    finally:
        for path in left_behind:
            shutil.rmtree(path, ignore_errors=True)
    return checkpoint


@dataclass(frozen=True, slots=True)
class ModelLook:
    """What a directory is and takes, before it is imported; bytes. `on_gpu`: the same in bf16."""

    facts: ModelFacts
    on_gpu: ModelFacts
    disk_free: int
    memory: int  # of the machine that serves the pages

    @property
    def fits_on_disk(self) -> bool:
        return self.facts.n_bytes < self.disk_free


def model_look(path: str) -> ModelLook:
    """Look at a directory that a browser named, without copying or loading it.

    Raises ImportRefused, UnsafeCheckpoint, UnloadableModel, as importing it would.
    """
    source = import_source(path)
    check_checkpoint_dir(source)
    n_parameters = count_parameters(source)
    store = store_path("")
    store.mkdir(parents=True, exist_ok=True)
    return ModelLook(
        facts=model_facts(source, n_parameters=n_parameters),
        on_gpu=model_facts(source, n_parameters=n_parameters, on_gpu=True),
        disk_free=shutil.disk_usage(store).free,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def checkpoint_import_start(
    *, project: Project, name: str, role: str, path: str, created_by: User | None
) -> Checkpoint | Job:
    """Import the model directory that a browser named: at once where it is small, else as a job.

    Raises ImportRefused, UnsafeCheckpoint, CheckpointExists, BadName: all that can be known before copying.
    """
    source = import_source(path)
    check_name(name)
    check_checkpoint_dir(source)
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    if size <= AT_ONCE_BYTES:
        return checkpoint_import(project=project, name=name, role=role, source=source, created_by=created_by)
    if Checkpoint.objects.filter(project=project, name=name).exists():
        raise CheckpointExists(f"checkpoint {name!r} is there already")
    with transaction.atomic():
        return job_enqueue(
            kind="policies.import",
            queue="cpu",
            payload={"name": name, "role": role, "path": str(source)},
            project=project,
            title=f"Import checkpoint {name}",
            started_by=created_by,
        )


def count_parameters(directory: Path) -> int:
    """Count the numbers in a directory's safetensors files from their headers alone."""
    total = 0
    for file in directory.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            size = 1
            for length in entry["shape"]:
                size *= length
            total += size
    return total
