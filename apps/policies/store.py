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
