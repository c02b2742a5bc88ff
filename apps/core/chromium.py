"""Where this machine has a Chromium, which the browser tests drive."""

from __future__ import annotations

import shutil

# Debian's without windows first: it takes a quarter less of the processor.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Give the path of the first of them that is there."""
    return next(filter(None, map(shutil.which, NAMES)), None)
