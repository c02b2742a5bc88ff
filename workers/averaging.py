"""A new checkpoint from the averaged weights of several that were trained from one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from typing import Literal

from safetensors.torch import save_file
from torch import Tensor

from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name
from apps.policies.services import CheckpointExists, checkpoint_register
from apps.policies.store import check_name, checkpoint_here, checkpoint_relative_path, store_path
from apps.projects.models import Project
from prefloop.checkpoints import MANIFEST, publish, tokenizer_hash
from prefloop.policy.averaging import NotAlike, mean_weights, read_weights, slerp_weights

By = Literal["mean", "slerp"]
_OF_ONE_MODEL = shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", MANIFEST, "training", "adapter")


def average_checkpoints(
    *, project: Project, name: str, of: Sequence[str], by: By = "mean", keep: float = 1.0
) -> Checkpoint:
    """Average checkpoints by name: their mean (WARM), or SLERP of what each learnt since their common ancestor (WARP).

    `keep`: the share of the way from the ancestor that is gone. The ancestor is the parent of the result, whose
    manifest names the averaged ones. Raises NotAlike, CheckpointExists, NoCheckpoint; nothing is left behind then.
    """
    check_name(name)
    rows = [checkpoint_by_name(project, one) for one in dict.fromkeys(of)]
    if len(rows) < 2:
        raise NotAlike("name two different checkpoints or more")
    if len({row.role for row in rows}) > 1:
        raise NotAlike("policies and reward models can't be averaged with each other")
    if not 0 < keep <= 1:
        raise NotAlike(f"the share of the way must be above 0 and at most 1, not {keep:g}")
    base = _common_ancestor(rows)
    final = store_path(checkpoint_relative_path(project.slug, name))
    if final.exists() or Checkpoint.objects.filter(project=project, name=name).exists():
        raise CheckpointExists(f"checkpoint {name!r} already exists")
    places = [checkpoint_here(row) for row in rows]
    if len({tokenizer_hash(place) for place in places}) > 1:
        raise NotAlike("the checkpoints have different tokenizers")
    weights = [read_weights(place) for place in places]
    if by == "mean" and keep == 1.0:
        made = mean_weights(weights)
    else:
        start = read_weights(checkpoint_here(base))
        made = slerp_weights(start, weights, keep=keep) if by == "slerp" else _towards(start, weights, keep)
    staging = final.parent / f".{name}.{uuid.uuid4().hex}"
    try:
        shutil.copytree(places[0], staging, ignore=_OF_ONE_MODEL)
        save_file(made, staging / "model.safetensors", metadata={"format": "pt"})
        told = {"of": {row.name: row.fingerprint for row in rows}, "by": by, "keep": keep}
        publish(staging, final, parent=base.fingerprint, extra={"averaged": told})
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return checkpoint_register(project=project, name=name, role=rows[0].role, directory=final, parent=base)


def _towards(start: dict[str, Tensor], weights: Sequence[dict[str, Tensor]], keep: float) -> dict[str, Tensor]:
    """Go the share `keep` of the way from the start to the mean. Raises NotAlike."""
    mean = mean_weights(weights)
    if mean.keys() != start.keys():
        raise NotAlike("their common ancestor has other tensors, so there is no way between")
    return {name: start[name].lerp(value, keep) if value.is_floating_point() else value for name, value in mean.items()}


def _common_ancestor(rows: Sequence[Checkpoint]) -> Checkpoint:
    """The nearest checkpoint that all were trained from. Raises NotAlike."""
    lines = [_line(row) for row in rows]
    shared = set.intersection(*({one.pk for one in line} for line in lines))
    found = next((one for one in lines[0] if one.pk in shared), None)
    if found is None:
        raise NotAlike("the checkpoints were not trained from one: their weights can't be averaged")
    return found


def _line(row: Checkpoint) -> list[Checkpoint]:
    """What a checkpoint was trained from, the nearest first."""
    line: list[Checkpoint] = []
    while row.parent is not None and row.parent not in line:
        row = row.parent
        line.append(row)
    return line
