"""`python -m prefloop.model_sources.hub_download ORG/NAME REVISION DIRECTORY`: download a repository of a model hub.

huggingface_hub does the work and reads its usual variables: HF_ENDPOINT, HF_TOKEN, HF_HOME (the cache), and
HF_HUB_OFFLINE=1 (use the cache alone). Weights are checked against the SHA-256 that the hub states. With `--look`
instead of a directory, only the small JSON files are downloaded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefloop.model_sources.child import NoModel, serve
from prefloop.model_sources.hub import SMALL, WANTED

_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
_LOOK = "--look"


def download(arguments: list[str], told: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Download the wanted files into the hub's cache and copy them to the directory. Raises NoModel."""
    from huggingface_hub import errors, snapshot_download

    repository, revision, out = arguments
    try:
        fetch = partial(snapshot_download, repository, ignore_patterns=["*/*"])
        small = Path(fetch(revision=revision, allow_patterns=list(SMALL)))
        # the rest by the commit's own name: a branch may move while its files come
        snapshot = partial(fetch, revision=small.name)
        if out == _LOOK:
            return _look(small, _files(snapshot))
        files = _files(snapshot)
        check_room(files, Path(out).parent)
        total = max(1, sum(file.file_size for file in files))
        told(0, total, "fetching")
        done = 0
        for file in files:  # one by one: each piece is progress, and a whole file is never fetched again
            folder = Path(snapshot(allow_patterns=[file.filename]))
            check_hash(folder / file.filename)
            done += file.file_size
            told(done, total, f"fetched {file.filename}")
        folder = Path(snapshot(allow_patterns=list(WANTED)))
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError) as error:
        raise NoModel(reason_of(repository, revision, error)) from error
    shutil.copytree(folder, out, symlinks=False)
    return {"commit": folder.name}


def _files(snapshot: Callable[..., Any]) -> list[Any]:
    """List what would be fetched, with sizes; nothing where there is only the cache, which is taken as it is."""
    from huggingface_hub import errors

    try:
        return list(snapshot(allow_patterns=list(WANTED), dry_run=True))
    except errors.DryRunError:
        return []


def _look(folder: Path, files: list[Any]) -> dict[str, Any]:
    def read(name: str) -> dict[str, Any]:
        file = folder / name
        found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        return found if isinstance(found, dict) else {}

    config, told = read("config.json"), read("tokenizer_config.json")
    names = {file.filename for file in files} | {file.name for file in folder.iterdir()}
    weights = sum(file.file_size for file in files if file.filename.endswith(".safetensors"))
    width = _WIDTHS.get(str(config.get("dtype") or config.get("torch_dtype") or "float32"), 2)
    return {
        "commit": folder.name,
        "architecture": str(config.get("model_type", "")),
        "n_parameters": weights // width,
        "n_bytes": sum(file.file_size for file in files),
        "has_tokenizer": bool(names & {"tokenizer.json", "tokenizer.model", "vocab.json"}),
        "has_template": bool(told.get("chat_template")) or "chat_template.jinja" in names,
        "has_end": bool(told.get("eos_token")) or config.get("eos_token_id") is not None,
        "config": config,
    }


def check_room(files: Sequence[Any], where: Path) -> None:
    """Refuse what the disk has no room for: the file in the hub's cache and its copy in the store. Raises NoModel."""
    missing = sum(file.file_size * (2 if file.will_download else 1) for file in files)
    free = shutil.disk_usage(where).free
    if missing > free:
        raise NoModel(f"it needs {missing / 1e9:.1f} GB of disk with the hub's cache, and {free / 1e9:.1f} are free")


def check_hash(file: Path) -> None:
    """Compare a large file with its name in the cache, which is its SHA-256; small ones are named by git.

    Raises NoModel and removes a damaged one, so that it is fetched again.
    """
    blob = file.resolve()
    if len(blob.name) != 64:
        return
    digest = hashlib.sha256()
    with blob.open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
    if digest.hexdigest() != blob.name:
        blob.unlink()
        raise NoModel(f"{file.name} arrived damaged: its SHA-256 is not the one that the hub names; try again")


def reason_of(repository: str, revision: str, error: Exception) -> str:
    """Say in one sentence why a hub did not give a repository."""
    from huggingface_hub import constants, errors

    where = constants.ENDPOINT
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, errors.HfHubHTTPError):
        error = error.__cause__  # what the hub said; that the cache has nothing either is no news
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no revision {revision!r} on {where}"
    if isinstance(error, errors.GatedRepoError):
        return f"{repository} is given only to those whom its owners let in: set HF_TOKEN where prefloop runs"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {repository} on {where}, or it is private (HF_TOKEN)"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"{repository} is not in the hub's cache, and {where} can't be reached"
    return f"{where} did not give {repository}: {str(error).splitlines()[0][:200]}"


if __name__ == "__main__":
    serve(download)
