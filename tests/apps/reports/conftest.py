from __future__ import annotations

from pathlib import Path

import pytest
from django.utils import timezone

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


@pytest.fixture(autouse=True)
def own_var(settings, tmp_path):
    """Locks of a test lie in its own folder, and no report of another test is kept."""
    from django.core.cache import cache

    cache.clear()
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()


@pytest.fixture
def shared():
    """shared("llmbar_natural") -> a folder of the shared data; skips where it is absent."""

    def find(name):
        path = SHARED / name
        if not path.is_dir():
            pytest.skip("shared-data")
        return path

    return find


@pytest.fixture
def bring(project):
    """bring(path, project=…): import as the command does."""
    from apps.exchange.services import import_file

    def run(path, *, project=project, **options):
        return import_file(
            project=project, path=path, name=Path(path).name, created_by=None, now=timezone.now(), **options
        )

    return run
