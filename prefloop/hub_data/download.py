"""`python -m prefloop.hub_data.download ORG/NAME REVISION DIRECTORY MOST_BYTES [CONFIG] [SPLIT]`: fetch one split.

huggingface_hub does the work; its variables (HF_ENDPOINT, HF_TOKEN, HF_HOME) mean here what they mean there.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prefloop.formats.rows import SUFFIXES
from prefloop.hub_data import NoData
from prefloop.hub_data.choosing import choose
from prefloop.model_sources.child import serve
from prefloop.model_sources.hub_download import check_hash, check_room, reason_of

_CARD = "README.md"


def download(arguments: list[str], told: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Fetch a split's files into the hub's cache and copy them to the directory. Raises NoData or NoModel."""
    from huggingface_hub import errors, snapshot_download

    repository, revision, out, most_bytes, *words = arguments
    try:
        fetch = partial(snapshot_download, repository, repo_type="dataset")
        card = Path(fetch(revision=revision, allow_patterns=[_CARD]))
        # the rest by the commit's own name: a branch may move while its files come
        snapshot = partial(fetch, revision=card.name)
        sizes = _sizes(snapshot, card)
        chosen = choose(list(sizes), _metadata(card / _CARD), words)
        files = [sizes[name] for name in chosen.files]
        total = sum(file.file_size for file in files)
        if total > int(most_bytes):
            raise NoData(f"{chosen.config}:{chosen.split} has {total / 1e6:,.0f} MB, more than fit here")
        check_room(files, Path(out).parent)
        done = 0
        for file in files:
            told(done, max(1, total), f"fetching {file.filename}")
            folder = Path(snapshot(allow_patterns=[glob.escape(file.filename)]))
            check_hash(folder / file.filename)
            # one name for each, in the order of their paths
            shutil.copyfile(folder / file.filename, Path(out) / file.filename.replace("/", "-"))
            done += file.file_size
        told(done, max(1, total), "fetched")
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError) as error:
        raise NoData(reason_of(repository, revision, error)) from error
    return {"commit": card.name, "config": chosen.config, "split": chosen.split}


class _Cached:
    """A file of the cache, described as the hub would."""

    will_download = False

    def __init__(self, folder: Path, file: Path) -> None:
        self.filename = file.relative_to(folder).as_posix()
        self.file_size = file.stat().st_size


def _sizes(snapshot: Callable[..., Any], folder: Path) -> dict[str, Any]:
    """List the tables of the repository with their sizes; those of the cache where that is all there is."""
    from huggingface_hub import errors

    patterns = [f"*{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz")]
    try:
        found = list(snapshot(allow_patterns=patterns, dry_run=True))
    except (errors.DryRunError, errors.LocalEntryNotFoundError):
        found = [_Cached(folder, file) for file in folder.rglob("*") if file.is_file()]
    return {file.filename: file for file in found}


def _metadata(card: Path) -> dict[str, Any]:
    """Read the YAML at the top of the card; empty if there is none, or it is broken."""
    from huggingface_hub.repocard import metadata_load

    if not card.is_file():
        return {}
    try:
        found = metadata_load(card)
    except Exception:  # noqa: BLE001 - a broken card is as good as none: names decide then
        return {}
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    serve(download)
