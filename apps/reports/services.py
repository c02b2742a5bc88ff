"""The two reports of a project, as the interface prints them. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache

from apps.projects.models import Project
from apps.reports import figures, selectors
from prefloop.stats.columns import AgreementColumns
from prefloop.stats.leaderboard import leaderboard_report as leaderboard
from prefloop.stats.report import agreement_report_of_columns

N_BOOTSTRAP = 1000
KEPT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Agreement:
    """The report, with what the page needs besides."""

    report: dict[str, Any]
    columns: AgreementColumns
    baselines: figures.Baselines
    biases: list[figures.Bias]
    truth_longer: figures.Figure
    made_at: datetime


def agreement_report(*, project: Project, seed: int = 0) -> dict[str, Any]:
    """Build the object of `report_agreement --json`."""
    columns = selectors.agreement_columns(project)
    return agreement_report_of_columns(project=project.slug, columns=columns, n_bootstrap=N_BOOTSTRAP, seed=seed)


def agreement_for_page(*, project: Project, now: datetime, seed: int = 0) -> Agreement:
    """Build the report and its figures; kept until somebody says something new."""
    key = f"agreement:{project.pk}:{seed}:{selectors.state_of(project)}"
    kept = cache.get(key)
    if isinstance(kept, Agreement):
        return kept
    columns = selectors.agreement_columns(project)
    made = Agreement(
        report=agreement_report_of_columns(project=project.slug, columns=columns, n_bootstrap=N_BOOTSTRAP, seed=seed),
        columns=columns,
        baselines=figures.baselines(columns, seed=seed),
        biases=figures.biases(columns, seed=seed),
        truth_longer=figures.truth_longer(columns),
        made_at=now,
    )
    cache.set(key, made, KEPT_SECONDS)
    return made


def leaderboard_report(*, project: Project, source: str = selectors.ALL, seed: int = 0) -> dict[str, Any]:
    """Build the object of `report_leaderboard --json`. Raises NoSuchSource."""
    selectors.judge_ids_of(project, source)
    games = selectors.games(project, source=source)
    return leaderboard(project=project.slug, source=source, games=games, seed=seed)
