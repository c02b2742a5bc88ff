from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def letters_policy_dir() -> Path:
    """The tiny trained policy, made once a machine and code version; nothing may write into it."""
    from prefloop.worlds.letters.cache import cached_letters_policy

    return cached_letters_policy(Path(__file__).resolve().parents[3] / "var" / "test-cache")
