"""Reads of checkpoints."""

from __future__ import annotations

import json

from django.conf import settings
from django.db.models import QuerySet

from apps.core.store import weights
from apps.policies.models import Checkpoint, Endpoint
from apps.projects.models import Project
from prefloop.memory import Shape
from prefloop.speeds import Speeds, known_speeds, measurement_name
from prefloop.types import PrefloopError


class NoCheckpoint(PrefloopError):
    """The project has no such checkpoint."""


def checkpoint_list(project: Project) -> QuerySet[Checkpoint]:
    return Checkpoint.objects.filter(project=project).select_related("parent", "approved_by").order_by("id")


def checkpoint_default(project: Project, role: str) -> Checkpoint | None:
    return Checkpoint.objects.filter(project=project, role=role, is_default=True).first()


def checkpoint_bytes(checkpoint: Checkpoint) -> int:
    """Return the size of a checkpoint's files; 0 if they are gone, or can't be reached."""
    try:
        return sum(weights().files(checkpoint.path, checkpoint.fingerprint).values())
    except PrefloopError:
        return 0


def checkpoint_shape(checkpoint: Checkpoint) -> Shape | None:
    """Read the sizes that a checkpoint's memory depends on; None if its files don't tell them."""
    try:
        config = json.loads(weights().read(checkpoint.path, checkpoint.fingerprint, "config.json"))
    except (OSError, ValueError, PrefloopError):
        return None
    return Shape.of(config, checkpoint.n_parameters or 0)


def checkpoint_speeds(checkpoint: Checkpoint) -> Speeds | None:
    """Return how fast models of this size are on this machine; None where no worker has measured it."""
    shape = checkpoint_shape(checkpoint)
    if shape is None:
        return None
    name = measurement_name(shape, settings.PRECISION)
    return known_speeds(name, threads=settings.WORKER_THREADS, folder=settings.VAR_DIR)


def checkpoint_by_name(project: Project, name: str, role: str = "policy") -> Checkpoint:
    """Return the checkpoint of this name; raises NoCheckpoint with the names that there are."""
    found = Checkpoint.objects.filter(project=project, name=name, role=role).first()
    if found is None:
        names = list(
            Checkpoint.objects.filter(project=project, role=role).order_by("id").values_list("name", flat=True)
        )
        there = ", ".join(names) if names else "none yet"
        raise NoCheckpoint(f"no {role} checkpoint {name!r} in project {project.slug}; there are: {there}")
    return found


class NoEndpoint(PrefloopError):
    """The project has no such endpoint."""


def endpoint_list(project: Project) -> QuerySet[Endpoint]:
    """Return the served models that can answer prompts: a simulated judge can't."""
    return Endpoint.objects.filter(project=project, is_simulated=False).order_by("id")


def endpoint_by_name(project: Project, name: str) -> Endpoint:
    """Return the endpoint of this name; raises NoEndpoint with the names that there are."""
    found = endpoint_list(project).filter(name=name).first()
    if found is None:
        there = ", ".join(endpoint_list(project).values_list("name", flat=True)) or "none yet"
        raise NoEndpoint(f"no endpoint {name!r} in project {project.slug}; there are: {there}")
    return found


def checkpoint_ancestors(checkpoint: Checkpoint) -> list[Checkpoint]:
    """Return what a checkpoint was trained from, oldest first; one query."""
    by_id = {row.pk: row for row in Checkpoint.objects.filter(project_id=checkpoint.project_id).defer("manifest")}
    found: list[Checkpoint] = []
    parent_id = checkpoint.parent_id
    while parent_id is not None and parent_id in by_id and len(found) < 1000:
        found.append(by_id[parent_id])
        parent_id = by_id[parent_id].parent_id
    return found[::-1]
