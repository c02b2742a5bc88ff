"""Paths of weights, snapshots and run directories: under STORE_DIR, by project, never outside it.

What another machine may have made is asked for by `checkpoint_here` and `checkpoint_outline`, which bring it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from apps.core.store import models, weights
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from prefloop.checkpoints import ADAPTER_CONFIG, named_base
from prefloop.model_sources import GGUF_SUFFIX, HUB_PREFIX, Source, read_source
from prefloop.store import NotStored
from prefloop.types import PrefloopError

UPLOADS = "uploads"  # the folder of a project's uploaded models
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class BadName(PrefloopError):
    """A name that is not a valid file name."""


def check_name(name: str) -> str:
    """Return a name that is safe as a file name; raises BadName for `..`, slashes, control characters and the like."""
    if not NAME.match(name) or ".." in name:
        raise BadName(
            f"{name!r} is not a valid name: use letters, digits, dots, dashes and underscores, at most 100 characters"
        )
    return name


def store_path(relative: str) -> Path:
    """Return the absolute path of something in the store; raises BadName for a path that points outside."""
    root = Path(settings.STORE_DIR).resolve()
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise BadName(f"{relative!r} points outside the store")
    return path


def checkpoint_relative_path(project_slug: str, name: str) -> str:
    return f"{project_slug}/checkpoints/{check_name(name)}"


def checkpoint_here(checkpoint: Checkpoint) -> Path:
    """Return a checkpoint's directory on this machine, where it is brought if need be, with the base of an adapter.

    Raises NotStored, StoreUnavailable, DamagedArtifact.
    """
    path = weights().fetch(checkpoint.path, checkpoint.fingerprint)
    base = _base_of(path) if weights().remote is not None else None
    if base is not None and base.is_relative_to(weights().root):
        name = base.relative_to(weights().root).as_posix()
        for found in Checkpoint.objects.filter(project_id=checkpoint.project_id, path=name)[:1]:
            checkpoint_here(found)
    return path


def checkpoint_outline(checkpoint: Checkpoint) -> Path:
    """Return a directory with a checkpoint's config and tokenizer; the weights need not be there."""
    return weights().outline(checkpoint.path, checkpoint.fingerprint)


class ImportRefused(PrefloopError):
    """A path that imports may not be read from."""


def import_folders(project: Project, *, is_operator: bool) -> list[Path]:
    """List the directories that a user of this project may import models from, with links resolved.

    A project has those that the operator gave it; an operator also has all that are not given to a project.
    """
    given = [folder / "projects" / project.slug for folder in settings.IMPORT_DIRS]
    given += settings.PROJECT_IMPORT_DIRS.get(project.slug, [])
    folders = [*settings.IMPORT_DIRS, *given] if is_operator else given
    return [Path(folder).resolve() for folder in folders]


def import_source(text: str, *, project: Project, is_operator: bool) -> Source:
    """Return the model that a browser named: a hub's, or one in a directory that imports are read from.

    A relative path is looked for in each of them. What lies outside is refused in the same words whether it exists or
    not. Raises ImportRefused, and NoModel for a hub's name that can't be one.
    """
    text = text.strip()
    if text.startswith(HUB_PREFIX):
        return read_source(text)
    allowed = import_folders(project, is_operator=is_operator)
    _bring_upload(text, project)
    if not text or "\0" in text:
        raise ImportRefused("name the model: its directory, its GGUF file, or hf:ORG/NAME@REVISION")
    for folder in allowed:
        # a link inside the folder may not lead out of it: resolve() follows it before the comparison
        path = (folder / text).resolve()
        is_model = path.is_dir() or (path.is_file() and path.suffix.lower() == GGUF_SUFFIX)
        if path.is_relative_to(folder) and path != folder and is_model:
            return read_source(path)
    inside = any(Path(text).resolve().is_relative_to(folder) for folder in allowed) or not Path(text).is_absolute()
    if inside and ".." not in Path(text).parts:
        raise ImportRefused(f"there is no directory or GGUF file {text!r} in {allowed[0]}: put the model there first")
    raise ImportRefused(
        f"{text!r} is not in an import directory: put it into {allowed[0]}, or have its folder added to "
        f"PREFLOOP_IMPORT_DIRS"
    )


def check_base(directory: Path, *, project: Project) -> None:
    """Refuse an adapter of a model that is not a checkpoint of this project: its base's weights would be imported too.

    Raises ImportRefused. Nothing else about the model directory is checked.
    """
    base = _base_of(directory)
    if base is None:
        return
    relative = base.relative_to(store_path("")).as_posix() if base.is_relative_to(store_path("")) else ""
    if not Checkpoint.objects.filter(project=project, path=relative).exists():
        raise ImportRefused("this is an adapter of a model that is not a checkpoint of this project: merge it first")


def _base_of(directory: Path) -> Path | None:
    """Return the directory of the model that an adapter names, None for a full model. Raises ImportRefused."""
    if not (directory / ADAPTER_CONFIG).is_file():
        return None
    try:
        named = named_base(directory)
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        raise ImportRefused(f"{ADAPTER_CONFIG} does not name its base model") from None
    return named.resolve()


def _bring_upload(text: str, project: Project) -> None:
    """Bring an uploaded model to this machine, if the text names one that arrived at another."""
    parts = Path(text).parts
    if models().remote is not None and parts[:1] == (UPLOADS,) and len(parts) > 1 and NAME.match(parts[1]):
        with suppress(NotStored):
            models().fetch(upload_name(project, parts[1]))


def upload_name(project: Project, name: str) -> str:
    """Name an uploaded model below the first of IMPORT_DIRS."""
    return f"projects/{project.slug}/{UPLOADS}/{check_name(name)}"
