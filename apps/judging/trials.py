"""Trying a judge before it is trusted: a draft on a few pairs, and a judge against the attack corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Count, Q
from numpy.typing import NDArray

from apps.accounts.models import User
from apps.jobs.models import Job, JobGroup
from apps.jobs.services import JobSpec, group_create, job_enqueue
from apps.judging.figures import Share
from apps.judging.models import AttackTrial, Judge, JudgeKind
from apps.judging.services import MOST_SAMPLES, BadJudge, built_in_template
from apps.policies.models import Endpoint
from apps.projects.models import Project
from prefloop.judging.attacks import CONTROL, CORPUS, attacks
from prefloop.judging.render import SCORE_MODES, judge_mode, template_from_text
from prefloop.stats.intervals import bootstrap_interval, ratio, wilson_interval

TRIAL_PAIRS = 5
RAW_CHARS = 4000


@dataclass(frozen=True, slots=True)
class AttackRow:
    """How one attack fared: flips of `n` tries, and how many of them were flagged for a person anyway."""

    name: str
    about: str
    n: int
    n_flipped: int
    n_flagged: int
    n_unread: int
    share: Share


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """All attacks together, the control aside. The interval is a bootstrap over pairs: each met every attack."""

    n_pairs: int
    flipped: Share
    control: Share
    rows: tuple[AttackRow, ...]  # the worst first


def trial_start(
    *,
    project: Project,
    endpoint: Endpoint,
    mode: str,
    criterion: str,
    template: str,
    comparison_ids: Sequence[int],
    options: dict[str, Any],
    order_policy: str,
    seed: int = 0,
    started_by: User | None = None,
) -> Job:
    """Enqueue a trial of a draft on at most five pairs. Raises BadJudge, TemplateError."""
    text = template or built_in_template(mode)
    template_from_text(text, name="the draft", mode=judge_mode(mode))
    if endpoint.project_id != project.pk:
        raise BadJudge("the endpoint is not of this project")
    if not comparison_ids:
        raise BadJudge("there are no comparisons to try it on: make some on the Samples page first")
    if not criterion.strip():
        raise BadJudge("a judge needs a criterion: what makes an answer better?")
    return job_enqueue(
        kind="judging.trial",
        queue="cpu",
        project=project,
        title="Try a judge",
        started_by=started_by,
        max_attempts=1,
        payload={
            "endpoint": endpoint.pk,
            "template": text,
            "mode": mode,
            "criterion": criterion,
            "temperature": float(options.get("temperature", 0.0)),
            "max_tokens": int(options.get("max_tokens", 1024)),
            "samples": min(int(options.get("samples", 1)), MOST_SAMPLES) if mode in SCORE_MODES else 1,
            "tie_delta": float(options.get("tie_delta", 0.0)),
            "order_policy": order_policy,
            "comparisons": list(comparison_ids[:TRIAL_PAIRS]),
            "seed": seed,
        },
    )


def attack_start(*, judge: Judge, n: int = 10, seed: int = 0, started_by: User | None = None) -> JobGroup:
    """Enqueue the attack corpus against a judge, on `n` pairs that it has decided. Raises BadJudge."""
    if judge.kind != JudgeKind.LLM:
        raise BadJudge(f"judge {judge.name!r} is no language model: there is nobody in it to talk to")
    if not 1 <= n <= 1000:
        raise BadJudge("the attacks are tried on 1 to 1,000 pairs")
    if not judge.verdicts.filter(state="ok").exists():
        raise BadJudge(f"judge {judge.name!r} has decided nothing yet: ask it about some pairs first")
    return group_create(
        project=judge.project,
        name=f"attacks on {judge.name}",
        jobs=[
            JobSpec(
                kind="judging.attack",
                queue="cpu",
                payload={"judge": judge.pk, "n": n, "seed": seed},
                title=f"Attack {judge.name}",
                unique_key=f"attack:{judge.pk}",
            )
        ],
        started_by=started_by,
    )


def attack_figures(judge: Judge, *, seed: int = 0) -> AttackFigures | None:
    """Give how often the corpus flips a judge; None where it was not tried."""
    trials = AttackTrial.objects.filter(judge=judge, corpus=CORPUS)
    counted = {
        row["attack"]: row
        for row in trials.values("attack").annotate(
            n=Count("id"),
            n_flipped=Count("id", filter=Q(flipped=True)),
            n_flagged=Count("id", filter=Q(flipped=True) & ~Q(flags=[])),
            n_unread=Count("id", filter=Q(state__in=("unparseable", "error"))),
        )
    }
    if not counted:
        return None
    rows = [
        AttackRow(
            name=attack.name,
            about=attack.about,
            n=one["n"],
            n_flipped=one["n_flipped"],
            n_flagged=one["n_flagged"],
            n_unread=one["n_unread"],
            share=_wilson(one["n_flipped"], one["n"]),
        )
        for attack in attacks()
        if (one := counted.get(attack.name)) is not None
    ]
    control = next((row.share for row in rows if row.name == CONTROL), Share(0))
    rows = [row for row in rows if row.name != CONTROL]
    by_pair = (
        trials.exclude(attack=CONTROL)
        .values_list("comparison_id")
        .annotate(n=Count("id"), k=Count("id", filter=Q(flipped=True)))
    )
    pairs = np.array([(k, n) for _, n, k in by_pair.values_list("comparison_id", "n", "k")], dtype=float)
    return AttackFigures(
        n_pairs=len(pairs),
        flipped=_over_pairs(pairs, seed),
        control=control,
        rows=tuple(sorted(rows, key=lambda row: (-(row.share.rate or 0), row.name))),
    )


def _wilson(k: int, n: int) -> Share:
    interval = wilson_interval(k, n)
    return Share(n) if interval is None else Share(n, k / n, interval.low, interval.high)


def _over_pairs(pairs: NDArray[np.float64], seed: int) -> Share:
    """The share of flips of (flips, tries) a pair; pairs are drawn, as the tries of one pair belong together.

    Where all pairs fared alike (none flipped, say) a bootstrap has no width: there Wilson's interval, with as many
    tries as there are pairs.
    """
    if not len(pairs):
        return Share(0)
    k, n = pairs.sum(axis=0)
    interval = bootstrap_interval(pairs, ratio, seed=seed)
    if interval is None or interval.high - interval.low < 1e-9:
        interval = wilson_interval(len(pairs) * k / n, len(pairs))
    return Share(int(n), k / n, interval.low, interval.high) if interval is not None else Share(int(n))
