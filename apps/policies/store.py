"""Where weights, snapshots and run directories lie: under STORE_DIR, by project, never outside it."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings

from prefloop.types import PrefloopError

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class BadName(PrefloopError):
    """A name that can't be a file's name."""


def check_name(name: str) -> str:
    """Return a name that is safe as a file name; raises BadName for `..`, slashes, control characters and the like."""
    if not NAME.match(name) or ".." in name:
        raise BadName(
            f"{name!r} can't be a name: use letters, digits, dots, dashes and underscores, 100 characters at most"
        )
    return name


def store_path(relative: str) -> Path:
    """Return the absolute path of something in the store; raises BadName for a path that leads out of it."""
    root = Path(settings.STORE_DIR).resolve()
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise BadName(f"{relative!r} leads out of the store")
    return path


def checkpoint_relative_path(project_slug: str, name: str) -> str:
    return f"{project_slug}/checkpoints/{check_name(name)}"


class ImportRefused(PrefloopError):
    """A path that imports are not read from."""


def import_source(text: str) -> Path:
    """Return the directory that a browser named, if it lies in a directory that imports are read from.

    A relative path is looked for in each of them. What lies outside is refused in the same words whether it exists or
    not. Raises ImportRefused.
    """
    text = text.strip()
    allowed = [Path(folder).resolve() for folder in settings.IMPORT_DIRS]
    if not text or "\0" in text:
        raise ImportRefused("name the directory of the model")
    for folder in allowed:
        # a link inside the folder may not lead out of it: resolve() follows it before the comparison
        path = (folder / text).resolve()
        if path.is_relative_to(folder) and path != folder and path.is_dir():
            return path
    inside = any(Path(text).resolve().is_relative_to(folder) for folder in allowed) or not Path(text).is_absolute()
    if inside and ".." not in Path(text).parts:
        raise ImportRefused(f"there is no directory {text!r} in {allowed[0]}: put the model there first")
    raise ImportRefused(
        f"{text!r} is not in a directory that imports are read from: put it into {allowed[0]}, "
        "or name its folder in PREFLOOP_IMPORT_DIRS"
    )
