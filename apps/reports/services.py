"""The two reports of a project, as in the documented interface, and what their pages show in addition.

Results for pages are cached until there is a new label. What is too slow for a page (Elo over many orders, the
bootstrap of a large board) is computed by a job, whose result is found by the hash of its input.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from apps.accounts.models import User
from apps.core.kept_figures import cache
from apps.jobs.models import Job, Turn
from apps.jobs.services import job_enqueue
from apps.labels.columns import content_version
from apps.projects.models import Project
from apps.reports import selectors
from prefloop.stats.board_win_rates import HALF_WIDTH, win_rates_report
from prefloop.stats.columns import AgreementColumns
from prefloop.stats.elo import orders_for
from prefloop.stats.judge_report import group_accuracy, rows_by_judge
from prefloop.stats.leaderboard import leaderboard_report_of_columns
from prefloop.stats.people import truth_of
from prefloop.stats.report import agreement_report_of_columns

Ints = NDArray[np.int64]

N_BOOTSTRAP = 1000
ALL_VOTES, UNCHOSEN = "all", "random"  # which votes an agreement report is made of
KEPT_SECONDS = 3600
# what a page has time for; beyond it Elo and the bootstrap are a job's
INLINE_GAMES, INLINE_MODELS, INLINE_UPDATES = 20_000, 40, 4_000_000
BOARD_JOB = "reports.leaderboard"


@dataclass(frozen=True, slots=True)
class Agreement:
    """The report, with the additional data of its page."""

    report: dict[str, Any]
    columns: AgreementColumns
    comparison_ids: Ints  # of the items, in their order
    overrides: list[selectors.Overrides]
    version: str
    made_at: datetime
    unchosen: bool  # without votes on pairs that were chosen by what judges said of them
    n_chosen: int  # such votes
    criterion: str  # "" the unnamed one


def agreement_report(*, project: Project, seed: int = 0, criterion: str = "", unchosen: bool = False) -> dict[str, Any]:
    """Build the object of `report_agreement --json`: how people and judges agree by one criterion.

    `unchosen` leaves out votes on pairs that people were given because judges doubt them, or last because judges are
    sure: on the others a judge's figures are those that it has on all pairs.
    """
    columns, _ = selectors.agreement_columns(project, criterion=criterion, unchosen=unchosen)
    return agreement_report_of_columns(project=project.slug, columns=columns, n_bootstrap=N_BOOTSTRAP, seed=seed)


def agreement_for_page(
    *, project: Project, now: datetime, seed: int = 0, criterion: str = "", unchosen: bool = False
) -> Agreement:
    """Build the report and its figures, as `agreement_report` does; cached until there is a new label."""
    version = content_version(project)
    key = f"agreement:{project.pk}:{seed}:{version}:{criterion}:{unchosen}"
    kept = cache.get(key)
    if isinstance(kept, Agreement):
        return kept
    columns, comparison_ids = selectors.agreement_columns(project, criterion=criterion, unchosen=unchosen)
    made = Agreement(
        report=agreement_report_of_columns(project=project.slug, columns=columns, n_bootstrap=N_BOOTSTRAP, seed=seed),
        columns=columns,
        comparison_ids=comparison_ids,
        overrides=selectors.override_list(project, criterion=criterion),
        version=version,
        made_at=now,
        unchosen=unchosen,
        n_chosen=selectors.n_chosen_votes(project, criterion),
        criterion=criterion,
    )
    cache.set(key, made, KEPT_SECONDS)
    return made


def agreement_whole(*, project: Project, now: datetime, criterion: str = "", unchosen: bool = False) -> dict[str, Any]:
    """Return the report for a download: its JSON, overrides, every slice, the version of its data and the time."""
    found = agreement_for_page(project=project, now=now, criterion=criterion, unchosen=unchosen)
    return found.report | {
        "overrides": [
            {
                "judge": o.name,
                "n": o.n,
                "n_changed": o.n_changed,
                "reasons": [{"reason": r, "n": n} for r, n in o.reasons],
            }
            for o in found.overrides
        ],
        "slices": {
            key: slice_report(found, selectors.slices(project, key, found.comparison_ids))
            for key in selectors.slice_keys(found.comparison_ids)
        },
        "votes": UNCHOSEN if unchosen else ALL_VOTES,
        "criterion": criterion,
        "version": found.version,
        "made_at": found.made_at.isoformat(),
        "n_bootstrap": N_BOOTSTRAP,
        "seed": 0,
    }


def slice_report(found: Agreement, slices: selectors.Slices) -> list[dict[str, Any]]:
    """Give each judge's accuracy in each slice: [{"judge", "slices": [{"name", "n", "k", "rate", "ci95"}]}]."""
    truth = truth_of(found.columns)
    return [
        {
            "judge": found.columns.judges[rows.code],
            "slices": group_accuracy(rows, truth, slices.place, slices.values),
        }
        for rows in rows_by_judge(found.columns)
    ]


def leaderboard_report(
    *, project: Project, source: str = selectors.ALL, seed: int = 0, criterion: str = "", style: bool = False
) -> dict[str, Any]:
    """Build the object of `report_leaderboard --json`, of the labels by one criterion; with `style`, with the style of
    the answers held equal too. Raises NoSuchSource.
    """
    selectors.judge_ids_of(project, source)
    columns = selectors.games(project, criterion, style=style).of(source)
    return leaderboard_report_of_columns(
        project=project.slug, source=source, columns=columns, n_bootstrap=N_BOOTSTRAP, seed=seed
    )


@dataclass(frozen=True, slots=True)
class Board:
    """The leaderboard for a page. If `is_partial`, Elo and the bootstrap are left to a job with the same input."""

    report: dict[str, Any]
    win_rates: dict[str, Any] | None
    judges: list[str]  # those whose labels can stand beside people's
    version: str
    made_at: datetime
    is_partial: bool


def leaderboard_for_page(
    *,
    project: Project,
    now: datetime,
    source: str,
    judge: str = "",
    half_width: float = HALF_WIDTH,
    criterion: str = "",
    style: bool = False,
) -> Board:
    """Build the leaderboard by a criterion from one reading of the labels; cached until there is a new one."""
    version = content_version(project)
    chosen = hashlib.sha256(f"{source}\0{judge}\0{half_width}\0{criterion}\0{style}".encode()).hexdigest()[:16]
    key = f"board:{project.pk}:{version}:{chosen}"
    kept = cache.get(key)
    if isinstance(kept, Board):
        return kept
    games = selectors.games(project, criterion, style=style)
    columns = games.of(source)
    n = int(columns.usable.sum())
    is_partial = n > INLINE_GAMES or len(columns.models) > INLINE_MODELS
    report = leaderboard_report_of_columns(
        project=project.slug,
        source=source,
        columns=columns,
        n_bootstrap=0 if is_partial else N_BOOTSTRAP,
        n_orders=0 if is_partial else min(orders_for(n), max(1, INLINE_UPDATES // max(n, 1))),
    )
    judges = sorted(set(games.judges))
    name = judge if judge in judges else _with_most(games)
    rates = None
    if name:
        code = games.judges.index(name)
        rates = win_rates_report(games.columns, judge=code, name=name, half_width=half_width)
        place = {model["name"]: at for at, model in enumerate(report["models"])}
        rates["models"].sort(key=lambda model: place.get(model["name"], len(place)))
    made = Board(report, rates, judges, version, now, is_partial)
    cache.set(key, made, KEPT_SECONDS)
    return made


def _with_most(games: selectors.Games) -> str:
    """Name the judge with the most verdicts on named models; empty if there is none."""
    said = games.columns.source[games.columns.usable]
    counts = np.bincount(said[said >= 0], minlength=len(games.judges))
    return games.judges[int(counts.argmax())] if counts.any() else ""


def leaderboard_job(
    *, project: Project, source: str, version: str, criterion: str = "", style: bool = False
) -> Job | None:
    """Find the job that computes the whole leaderboard for this input."""
    return Job.objects.filter(unique_key=_job_key(project, source, version, criterion, style)).first()


def leaderboard_work_out(
    *, project: Project, source: str, started_by: User, criterion: str = "", style: bool = False
) -> Job:
    """Start the job that computes the whole leaderboard, once per input. Raises NoSuchSource."""
    selectors.judge_ids_of(project, source)
    version = content_version(project)
    with transaction.atomic():
        return job_enqueue(
            kind=BOARD_JOB,
            turn=Turn.PERSON,
            queue="cpu",
            payload={
                "project": project.pk,
                "source": source,
                "version": version,
                "criterion": criterion,
                "style": style,
            },
            project=project,
            title=f"Leaderboard of {project.name}",
            unique_key=_job_key(project, source, version, criterion, style),
            started_by=started_by,
        )


def _job_key(project: Project, source: str, version: str, criterion: str, style: bool) -> str:
    of = f"{source}\0{criterion}" if criterion else source
    of += "\0style" if style else ""
    name = hashlib.sha256(of.encode()).hexdigest()[:16]
    return f"leaderboard:{project.pk}:{name}:{version}"
