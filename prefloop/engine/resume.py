"""Checkpoints of a run: written completely or not at all, and found again however the process died.

A checkpoint is `step-000200/`: the model as `from_pretrained` reads it, and `training/` with the optimizer's moments
and the generators' states (safetensors) and the position (JSON). It is written under another name, closed with a
manifest and renamed. Nothing here reads a pickle.
"""

from __future__ import annotations

import errno
import json
import random
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from prefloop.checkpoints import DamagedCheckpoint, publish, verify_manifest
from prefloop.engine.optimizer import MasterAdamW
from prefloop.engine.sharding import keeps_copies
from prefloop.policy.adapters import is_adapted, merge, save_adapter
from prefloop.policy.loading import save_model
from prefloop.recipes.runspec import TEMPORARY
from prefloop.types import PrefloopError

TRAINING = "training"
ADAPTER = "adapter"
_STEP_DIR = re.compile(r"^step-(\d{6,})$")
_MARGIN_BYTES = 4 << 20  # config, tokenizer, manifest, the event log
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

OnLog = Callable[[str, str], None]  # (level, message)
Beside = Mapping[str, Mapping[str, Tensor]]


class OutOfDisk(PrefloopError):
    """There is no space for a checkpoint; earlier ones are intact."""


class OtherRun(PrefloopError):
    """The checkpoint in this directory belongs to a run with other settings or another training set."""


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a run: steps done, and the rows they used (counted again in each epoch)."""

    step: int
    consumed_rows: int
    config_hash: str
    snapshot_sha256: str


def is_disk_error(error: Exception) -> bool:
    """Whether the error is a full disk; safetensors has an error of its own, with the system's number in its text."""
    if isinstance(error, OSError):
        return error.errno in _DISK_ERRORS
    return any(f"os error {number})" in str(error) for number in _DISK_ERRORS)


def step_dirs(run_dir: Path) -> list[Path]:
    """List the published checkpoints, the newest first."""
    found = [(int(match.group(1)), path) for path in run_dir.iterdir() if (match := _STEP_DIR.match(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def sweep(run_dir: Path) -> None:
    """Remove what a process that died was writing or removing."""
    for path in run_dir.iterdir():
        if TEMPORARY in path.name and path.is_dir():
            shutil.rmtree(path)


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint to resume from, and the history of its run."""

    path: Path
    position: Position
    parent: str


def newest_checkpoint(run_dir: Path, *, config_hash: str, snapshot_sha256: str, on_log: OnLog) -> Found | None:
    """Find the newest checkpoint whose manifest verifies; damaged ones are logged and removed.

    Raises OtherRun if it was made with other settings.
    """
    for path in step_dirs(run_dir):
        try:
            manifest = verify_manifest(path)
            position = read_position(path)
        except (DamagedCheckpoint, OSError, ValueError, KeyError, TypeError) as error:
            on_log("warning", f"checkpoint {path.name} is damaged ({error}); using the one before")
            remove_dir(path)
            continue
        if (position.config_hash, position.snapshot_sha256) != (config_hash, snapshot_sha256):
            raise OtherRun(f"{path.name} was made with other settings or rows: use a new run directory")
        return Found(path, position, str(manifest.get("parent", "")))
    return None


def read_position(path: Path) -> Position:
    data = json.loads((path / TRAINING / "state.json").read_text("utf-8"))
    return Position(
        step=int(data["step"]),
        consumed_rows=int(data["consumed_rows"]),
        config_hash=str(data["config_hash"]),
        snapshot_sha256=str(data["snapshot_sha256"]),
    )


def save_checkpoint(
    run_dir: Path,
    model: Any,
    tokenizer: Any,
    moments: Mapping[str, Tensor],
    *,
    position: Position,
    parent: str,
    keep_last: int,
    extra: dict[str, Any] | None = None,
    beside: Beside | None = None,
) -> tuple[Path, str]:
    """Publish `step-…/` and remove the oldest beyond `keep_last`; return its path and fingerprint. Raises OutOfDisk.

    `moments`: what `optimizer_tensors` gives. `beside`: further tensors needed to resume, by file name.
    """
    target = run_dir / f"step-{position.step:06d}"

    def write(folder: Path) -> None:
        save_model(model, tokenizer, folder)
        training = folder / TRAINING
        training.mkdir()
        tensors, scalars = generator_states()
        save_file(dict(moments), training / "optimizer.safetensors")
        save_file(tensors, training / "generators.safetensors")
        state = {
            "step": position.step,
            "consumed_rows": position.consumed_rows,
            "config_hash": position.config_hash,
            "snapshot_sha256": position.snapshot_sha256,
            "generators": scalars,
        }
        _save_beside(beside, training)
        (training / "state.json").write_text(json.dumps(state, sort_keys=True), "utf-8")

    n_bytes = _stored(model) + sum(tensor.nbytes for tensor in moments.values()) + _beside_bytes(beside)
    manifest = _publish(target, write, n_bytes, position=position, parent=parent, extra=extra)
    for old in step_dirs(run_dir)[keep_last:]:
        remove_dir(old)
    return target, str(manifest["fingerprint"])


def publish_result(
    target: Path,
    model: Any,
    tokenizer: Any,
    *,
    position: Position,
    parent: str,
    extra: dict[str, Any],
    merge_in: bool,
    beside: Beside | None = None,
) -> str:
    """Publish the model alone, without the optimizer; return its fingerprint. Raises OutOfDisk.

    With `merge_in` a model with an adapter becomes a full one, with the adapter in `adapter/`; the given model can't be
    used afterwards. `beside`: tensors of modules trained with it (a value head), by file name.
    """

    def write(folder: Path) -> None:
        if merge_in and is_adapted(model):
            save_adapter(model, folder / ADAPTER, below="..")
            save_model(merge(model), tokenizer, folder)
        else:
            save_model(model, tokenizer, folder)
        _save_beside(beside, folder)

    n_bytes = (_size(model) if merge_in else _stored(model)) + _beside_bytes(beside)
    manifest = _publish(target, write, n_bytes, position=position, parent=parent, extra=extra)
    return str(manifest["fingerprint"])


def load_moments(path: Path) -> dict[str, Tensor]:
    """Read the optimizer state of a checkpoint; empty before the first step."""
    return dict(load_file(path / TRAINING / "optimizer.safetensors"))


def restore_kept_generators(path: Path) -> None:
    """Restore the random generators from the checkpoint."""
    scalars = json.loads((path / TRAINING / "state.json").read_text("utf-8"))["generators"]
    restore_generators(load_file(path / TRAINING / "generators.safetensors"), scalars)


def load_beside(path: Path, name: str) -> dict[str, Tensor]:
    """Read the tensors stored under this name with a checkpoint; empty if there are none."""
    file = path / TRAINING / f"{name}.safetensors"
    return dict(load_file(file)) if file.exists() else {}


def _save_beside(beside: Beside | None, folder: Path) -> None:
    for name, tensors in (beside or {}).items():
        if tensors:
            save_file(dict(tensors), folder / f"{name}.safetensors")


def _beside_bytes(beside: Beside | None) -> int:
    return sum(tensor.nbytes for tensors in (beside or {}).values() for tensor in tensors.values())


def check_room(run_dir: Path, n_bytes: int) -> None:
    """Raise OutOfDisk unless `n_bytes` and a little more are free."""
    free = shutil.disk_usage(run_dir).free
    if free < n_bytes + _MARGIN_BYTES:
        raise OutOfDisk(f"a checkpoint needs {_mib(n_bytes + _MARGIN_BYTES)} and {run_dir} has {_mib(free)} free")


def training_bytes(model: Any, optimizer: MasterAdamW) -> int:
    """Size of a checkpoint in bytes: what is stored of the model, two moments per parameter, fp32 copies."""
    whole = [(one.numel() * master.itemsize, master is not one) for one, master in optimizer.masters.items()]
    copies = sum(size for size, is_copy in whole if is_copy and keeps_copies(model))
    return _stored(model) + copies + 2 * sum(size for size, _ in whole)


def remove_dir(path: Path) -> None:
    """Remove a directory in two steps, so that the rest of an interrupted removal is swept and never read."""
    doomed = path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(4)}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _publish(
    target: Path,
    write: Callable[[Path], None],
    n_bytes: int,
    *,
    position: Position,
    parent: str,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    temporary = target.with_name(f"{target.name}{TEMPORARY}{secrets.token_hex(4)}")
    try:
        check_room(target.parent, n_bytes)
        temporary.mkdir()
        write(temporary)
        return publish(
            temporary, target, step=position.step, config_hash=position.config_hash, parent=parent, extra=extra
        )
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_disk_error(error):
            raise OutOfDisk(f"the disk is full: {target.name} is not written, what came before is intact") from error
        raise


def _size(model: Any) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _stored(model: Any) -> int:
    """What `save_model` writes: for a model with an adapter only the adapter."""
    if not is_adapted(model):
        return _size(model)
    return sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB"


def generator_states() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain JSON of the global generators; the run's own sampling depends only on its seeds."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    scalars = {
        "python": [version, list(words), gauss],
        "numpy": [str(name), int(place), int(has_gauss), float(cached)],
    }
    return tensors, scalars


def restore_generators(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    version, words, gauss = scalars["python"]
    random.setstate((version, tuple(words), gauss))
    name, place, has_gauss, cached = scalars["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), place, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    cuda = [tensors[name] for name in sorted(tensors) if name.startswith("cuda.")]
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
