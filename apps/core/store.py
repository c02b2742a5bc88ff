"""The store of this installation, in three parts: weights and runs, uploaded files, uploaded models.

By default each is a directory of PREFLOOP_VAR; with PREFLOOP_STORE=s3://… the directories are caches of it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from django.conf import settings

from prefloop.store import Remote, Store

KEY = "secret-key-fingerprint"  # an object of the store


def weights() -> Store:
    """Checkpoints, training sets and run directories, by project: what STORE_DIR holds."""
    return _opened(Path(settings.STORE_DIR), "store", settings.STORE_URL, settings.STORE_CACHE_GB)


def uploads() -> Store:
    """Files with records that wait to be imported."""
    return _opened(home() / "uploads", "uploads", settings.STORE_URL, settings.STORE_CACHE_GB)


def models() -> Store:
    """Models that were uploaded and wait to be imported."""
    return _opened(Path(settings.IMPORT_DIRS[0]), "imports", settings.STORE_URL, settings.STORE_CACHE_GB)


def home() -> Path:
    """The directory that holds them on this machine."""
    return Path(settings.STORE_HOME or settings.VAR_DIR)


def has_the_key_of_others() -> bool:
    """Whether this machine's SECRET_KEY is that of the machine that first asked. Raises StoreUnavailable."""
    remote = weights().remote
    if remote is None:
        return True
    mine = sha256(b"prefloop store\0" + settings.SECRET_KEY.encode()).hexdigest()[:16].encode()
    try:
        return remote.get(KEY) == mine
    except FileNotFoundError:
        remote.put(KEY, mine)
        return True


@lru_cache(maxsize=16)
def _opened(root: Path, part: str, url: str, cache_gb: int) -> Store:
    if not url:
        return Store(root)
    folder = root.resolve().with_name(f"{root.name}-cache")
    return Store(root, remote=_remote(url), prefix=part, cache=(folder, cache_gb * 2**30))


@lru_cache(maxsize=4)
def _remote(url: str) -> Remote:
    return Remote(url)
