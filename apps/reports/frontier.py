"""The frontier of a project: the win rate or gold of each checkpoint against its KL (in nats).

Loops share a chart only if they are comparable: the same initial policy, the same held-out prompts, the same length
limit, and win rates by the same measure. KL is that of the evaluation (the mean over sequences of the exact per-step
KL, summed). Best-of-N is added for comparison: analytic, KL at most log n - (n-1)/n at a win rate of n/(n+1) against
one answer (no ties; Beirami et al., arXiv:2401.01879), and measured if a best-of-n loop has run.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.projects.models import Project
from apps.samples.models import SamplingRun
from apps.training.lineage.figures import GOLD, WIN_RATE
from apps.training.lineage.selectors import loop_list, on_the_way, round_row
from apps.training.models import Loop, Round, Stage
from prefloop.recipes.evaluation import TRUTH
from prefloop.seeds import derive_seed, sampler_seed
from prefloop.stats.best_of_n import kl_bound

POINT_KEYS = (
    "round",
    "step",  # of a policy that was measured on the way; None: the round's result
    "checkpoint",
    "checkpoint_id",
    "ended_at",
    "kl",
    "kl_ci95",
    "win_rate_vs_initial",
    "win_rate_ci95",
    "gold_mean",
    "gold_ci95",
    "mean_length",
    "n_eval_prompts",
    "n_eval_samples",
    "seconds",
)
Y_FIGURES = {"win": WIN_RATE, "gold": GOLD}  # what the y axis can show
MOST_N = 4096  # where the analytic curve ends: 7.3 nats, 99.98 %


@dataclass(frozen=True, slots=True)
class _Asked:
    """The held-out answers on which a checkpoint was measured."""

    made_at: datetime
    n: int
    sha256: str
    max_tokens: int


def best_of_n_win_rate(n: float) -> float:
    """Give n/(n+1): how often the best of n draws beats one draw, where no two draws are equally good."""
    if n < 1:
        raise ValueError("n is at least 1")
    return n / (n + 1)


def analytic_rows(most_kl: float) -> list[dict[str, Any]]:
    """Return best of 1, 2, 4, … as {n, kl_bound, win_rate}, up to the first whose bound reaches `most_kl` nats."""
    rows: list[dict[str, Any]] = []
    n = 1
    while n <= MOST_N and (n <= 8 or kl_bound(n // 2) < most_kl):
        rows.append({"n": n, "kl_bound": kl_bound(n), "win_rate": best_of_n_win_rate(n)})
        n *= 2
    return rows


def frontier_report(*, project: Project) -> dict[str, Any]:
    """Build the report for the page and its JSON: groups of comparable loops, the one with most measurements first."""
    asked = _evaluations(project)
    kept = on_the_way(run__round__loop__project=project)
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    references: list[tuple[Loop, Round]] = []
    left_out: list[dict[str, Any]] = []
    for loop in reversed(list(loop_list(project))):
        done = [round_ for round_ in loop.rounds.all() if round_.stage == Stage.DONE]
        best_of_n = [(loop, round_) for round_ in done if round_.result.get("best_of_n")]
        references += best_of_n
        rounds = [] if best_of_n else [round_ for round_ in done if round_.result.get("kl") is not None]
        measured_by, measure = _measure(loop, rounds)
        start: dict[str, Any] = {}
        for round_ in rounds:
            found = _asked_of(loop, round_, asked)
            n = round_.result.get("n_eval_prompts")
            key = (_identity(loop), found.sha256 if found else n, found.max_tokens if found else None, measure)
            group = groups.setdefault(key, _group(loop, found, n, measured_by))
            point = _point(round_, start)
            if round_.index == 0:
                start = point
            group["newest"] = loop.pk
            lines = group["loops"]
            if not lines or lines[-1]["loop"] != loop.pk:
                lines.append(_loop(loop))
            lines[-1]["points"] += [*(_kept_point(row, start) for row in kept.get(round_.pk, ())), point]
        if not rounds and not best_of_n:
            left_out.append({"loop": loop.pk, "recipe": loop.recipe, "state": loop.state})
    _add_references(groups, references)
    ordered = sorted(groups.values(), key=lambda group: (-len(points_of(group)), -group["newest"]))
    reach = max((point["kl"] for group in ordered for line in group["loops"] for point in line["points"]), default=0.0)
    return {
        "project": project.slug,
        "has_gold": any(values(group, "gold") for group in ordered),
        "groups": ordered,
        "best_of_n_analytic": analytic_rows(reach),
        "left_out": left_out,
    }


def points_of(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Every measured checkpoint of a group with its loop, in the order of loops and rounds."""
    return [
        point | {"loop": line["loop"], "recipe": line["recipe"]} for line in group["loops"] for point in line["points"]
    ]


def values(group: dict[str, Any], y: str) -> list[float]:
    """Every value on the y axis ("win" or "gold") of the group."""
    key = Y_FIGURES[y].key
    known = [point[key] for point in points_of(group) if point[key] is not None]
    return known + ([row["mean"] for one in group["best_of_n"] for row in one["rows"]] if y == "gold" else [])


def _identity(loop: Loop) -> str:
    return loop.initial.fingerprint if loop.initial is not None else f"loop {loop.pk}"


def _measure(loop: Loop, rounds: list[Round]) -> tuple[str | None, Any]:
    """Say who decides a win: gold if it measured, else a judge, with enough to tell two judges apart."""
    told = next((round_.evaluation for round_ in reversed(rounds) if round_.evaluation.get("by")), None)
    if told is not None:
        return ("gold", "gold") if told["by"] == TRUTH else (told["by"], ("judge", told["judge"]))
    # measured before rounds said by whom: by gold, else by the reward model that labelled
    if any(round_.result.get("gold_mean") is not None for round_ in rounds):
        return "gold", "gold"
    if loop.judge is None or all(round_.result.get("win_rate_vs_initial") is None for round_ in rounds):
        return None, None
    return loop.judge.name, ("judge", loop.judge.checkpoint_id or loop.judge.pk)


def _group(loop: Loop, found: _Asked | None, n: int | None, measured_by: str | None) -> dict[str, Any]:
    initial = loop.initial
    return {
        "initial": {"id": initial.pk, "name": initial.name, "fingerprint": initial.fingerprint} if initial else None,
        "n_prompts": found.n if found else n,
        "prompts_sha256": found.sha256 if found else None,
        "max_tokens": found.max_tokens if found else None,
        "measured_by": measured_by,
        "loops": [],
        "best_of_n": [],
        "newest": loop.pk,
    }


def _loop(loop: Loop) -> dict[str, Any]:
    return {
        "loop": loop.pk,
        "recipe": loop.recipe,
        "state": loop.state,
        "seed": loop.seed,
        "judge": loop.judge.name if loop.judge else None,
        "points": [],
    }


def _point(round_: Round, start: dict[str, Any]) -> dict[str, Any]:
    ended = round_.ended_at.isoformat(timespec="seconds") if round_.ended_at else None
    return _gains(round_row(round_) | {"checkpoint_id": round_.output_id, "ended_at": ended}, start)


def _kept_point(row: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
    """A policy that was measured on the way, before its round's result."""
    return _gains(row | {"ended_at": None}, start)


def _gains(row: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
    """A point, with what it gained over the start for each nat."""
    point = {key: row.get(key) for key in POINT_KEYS}
    kl, win, gold = point["kl"], point["win_rate_vs_initial"], point["gold_mean"]
    begun = start.get("gold_mean")
    moved = bool(point["round"]) and kl is not None and kl > 0
    return point | {
        "win_rate_per_nat": (win - 0.5) / kl if moved and win is not None else None,
        "gold_per_nat": (gold - begun) / kl if moved and gold is not None and begun is not None else None,
    }


def _hash(prompt_ids: list[int]) -> str:
    return hashlib.sha256(json.dumps(sorted(prompt_ids)).encode()).hexdigest()


def _evaluations(project: Project) -> dict[tuple[int | None, int], list[_Asked]]:
    """Return the held-out answers of every checkpoint and seed, oldest first."""
    found: dict[tuple[int | None, int], list[_Asked]] = defaultdict(list)
    rows = SamplingRun.objects.filter(project=project, purpose="evaluation").order_by("id")
    for checkpoint, seed, made_at, prompt_ids, max_tokens in rows.values_list(
        "checkpoint_id", "seed", "created_at", "prompt_ids", "max_tokens"
    ):
        found[checkpoint, seed].append(_Asked(made_at, len(prompt_ids), _hash(prompt_ids), max_tokens))
    return found


def _asked_of(loop: Loop, round_: Round, asked: dict[tuple[int | None, int], list[_Asked]]) -> _Asked | None:
    """Find the answers on which a round was measured: the newest of its checkpoint that existed when it ended."""
    seed = sampler_seed(derive_seed(loop.seed, "evaluation"), "evaluation")
    n = round_.result.get("n_eval_prompts")
    there = [
        one
        for one in asked.get((round_.output_id, seed), [])
        if one.n == n and (round_.ended_at is None or one.made_at <= round_.ended_at)
    ]
    return there[-1] if there else None


def _add_references(groups: dict[tuple[Any, ...], dict[str, Any]], references: list[tuple[Loop, Round]]) -> None:
    """Put each measured best-of-n curve into the groups of its initial policy, and say whether the prompts are the
    same.

    Its values are gold only if the world has a truth; elsewhere they are the scorer's own, which is not a measure.
    """
    ids = [round_.sampling_run_id for _, round_ in references if round_.sampling_run_id is not None]
    runs: dict[int, tuple[int, str]] = {
        pk: (len(prompt_ids), _hash(prompt_ids))
        for pk, prompt_ids in SamplingRun.objects.filter(pk__in=ids).values_list("pk", "prompt_ids")
    }
    for loop, round_ in references:
        if round_.result.get("gold_mean") is None:
            continue
        n, sha256 = runs.get(round_.sampling_run_id or 0) or (None, None)
        mine = [group for key, group in groups.items() if key[0] == _identity(loop)]
        if not mine:
            group = _group(loop, None, n, "gold") | {"prompts_sha256": sha256}
            groups[_identity(loop), sha256, None, "gold"] = group
            mine = [group]
        for group in mine:
            group["newest"] = max(group["newest"], loop.pk)
            group["best_of_n"].append(
                {
                    "loop": loop.pk,
                    "judge": loop.judge.name if loop.judge else None,
                    "n_prompts": n,
                    "same_prompts": sha256 is not None and sha256 == group["prompts_sha256"],
                    "rows": round_.result["best_of_n"],
                }
            )
