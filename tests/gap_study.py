"""A stored gap study with finished runs, whose win rates rise as told: for its report and its page."""

from __future__ import annotations

from typing import Any

import numpy as np

HELD = {"online": 0.10, "tandem": 0.06, "offline": 0.02}  # win rate gained a nat


def points(level: float, *, seed: int, n_prompts: int = 40, reach: float = 4.0) -> list[dict[str, Any]]:
    """A path whose win rate rises by `level` for each nat."""
    noise = np.random.default_rng(seed).normal(0, 0.02, n_prompts)
    found = []
    for k in range(5):
        kl = reach * k / 4
        win = 0.5 + level * kl + noise if k else np.full(n_prompts, 0.5)
        found.append(
            {
                "step": 8 * k,
                "kl": kl,
                "kl_ci95": [0.9 * kl, 1.1 * kl],
                "values": {"win": win.tolist(), "gold": (3 * win).tolist()},
                "length": 100.0,
                "checkpoint": f"step-{k}",
                "checkpoint_id": None,
            }
        )
    return found


def stored_gap_study(project: Any, levels: dict[str, float], *, seeds: int = 3, leave_out: Any = ()) -> Any:
    """Store it; `levels` gives each arm's win rate a nat, `leave_out` the (arm, seed) that are not finished."""
    from django.utils import timezone

    from apps.reports.models import Study, StudyRun, StudyState
    from prefloop.studies.catalogue import get_study

    study = Study.objects.create(project=project, name="gap", n_seeds=seeds, state=StudyState.DONE)
    for at, one in enumerate(get_study("gap").planned(seeds)):
        ended = (one.arm.name, one.seed) not in leave_out
        StudyRun.objects.create(
            study=study,
            arm=one.arm.name,
            setting=one.setting,
            seed=one.seed,
            points=points(levels[one.arm.name], seed=at) if ended else [],
            ended_at=timezone.now() if ended else None,
        )
    return study
