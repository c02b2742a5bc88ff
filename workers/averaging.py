"""A new checkpoint from the averaged weights of several that were trained from one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from apps.accounts.models import User
from apps.policies.averaging import Average, average_planned, name_free
from apps.policies.models import Checkpoint
from apps.policies.services import CheckpointExists, checkpoint_register
from apps.policies.store import checkpoint_here, checkpoint_relative_path, store_path
from apps.projects.models import Project
from prefloop.checkpoints import MANIFEST, publish, tokenizer_hash, verify_manifest
from prefloop.policy.averaging import NotAlike, mean_weights, read_weights, slerp_weights

_OF_ONE_MODEL = shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", MANIFEST, "training", "adapter")


def average_checkpoints(
    *,
    project: Project,
    name: str,
    of: Sequence[str],
    by: str = "mean",
    keep: float = 1.0,
    created_by: User | None = None,
    told: Callable[[int], None] = lambda done: None,
    attempt: str = "",
) -> Checkpoint:
    """Average checkpoints by name: their mean (WARM), or SLERP of what each learnt since their common ancestor (WARP).

    `keep`: the share of the way from the ancestor that is gone. The ancestor is the parent of the result, whose
    manifest names the averaged ones. `told` is called with the number of models that are read. `attempt` names the
    work, so that it goes on with what an earlier attempt of it left. Raises NotAlike, CheckpointExists, QuotaReached
    and what `average_planned` does; nothing is left behind then.
    """
    planned = average_planned(project=project, name=name, of=of, by=by, keep=keep)
    made = {"of": {row.name: row.fingerprint for row in planned.of}, "by": by, "keep": keep}
    if attempt:
        made["attempt"] = attempt
    final = store_path(checkpoint_relative_path(project.slug, name))
    if not (attempt and final.exists() and _made(final) == made):
        name_free(project, name)
        staging = final.parent / f".{name}.average-{attempt or uuid.uuid4().hex}"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            _write(planned, staging, by=by, keep=keep, told=told)
            publish(staging, final, parent=planned.start.fingerprint, extra={"averaged": made})
        except FileExistsError:
            raise CheckpointExists(f"checkpoint {name!r} already exists") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    try:
        return checkpoint_register(
            project=project,
            name=name,
            role=planned.of[0].role,
            directory=final,
            parent=planned.start,
            created_by=created_by,
            asks=True,
        )
    finally:
        if not Checkpoint.objects.filter(project=project, name=name).exists():
            shutil.rmtree(final, ignore_errors=True)


def is_of(found: Checkpoint, attempt: str) -> bool:
    """Say whether an earlier attempt of this work made the checkpoint."""
    return bool(found.manifest.get("extra", {}).get("averaged", {}).get("attempt") == attempt)


def _made(directory: Path) -> object:
    return verify_manifest(directory)["extra"].get("averaged")


def _write(planned: Average, directory: Path, *, by: str, keep: float, told: Callable[[int], None]) -> None:
    places = [checkpoint_here(row) for row in planned.of]
    if len({tokenizer_hash(place) for place in places}) > 1:
        raise NotAlike("the checkpoints have different tokenizers")
    weights = []
    for done, place in enumerate(places):
        told(done)
        weights.append(read_weights(place))
    told(len(places))
    if by == "mean" and keep == 1.0:
        made = mean_weights(weights)
    else:
        start = read_weights(checkpoint_here(planned.start))
        made = slerp_weights(start, weights, keep=keep) if by == "slerp" else _towards(start, weights, keep)
    shutil.copytree(places[0], directory, ignore=_OF_ONE_MODEL)
    save_file(made, directory / "model.safetensors", metadata={"format": "pt"})


def _towards(start: dict[str, Tensor], weights: Sequence[dict[str, Tensor]], keep: float) -> dict[str, Tensor]:
    """Go the share `keep` of the way from the start to the mean. Raises NotAlike."""
    mean = mean_weights(weights)
    if mean.keys() != start.keys():
        raise NotAlike("their common ancestor has other tensors, so there is no way between")
    return {name: start[name].lerp(value, keep) if value.is_floating_point() else value for name, value in mean.items()}
