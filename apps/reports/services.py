"""The two reports of a project, as the interface prints them. Nothing is written."""

from __future__ import annotations

from typing import Any

from apps.projects.models import Project
from apps.reports import selectors
from prefloop.stats.leaderboard import leaderboard_report as leaderboard
from prefloop.stats.report import agreement_report_of_columns

N_BOOTSTRAP = 1000


def agreement_report(*, project: Project, seed: int = 0) -> dict[str, Any]:
    """Build the object of `report_agreement --json`."""
    columns = selectors.agreement_columns(project)
    return agreement_report_of_columns(project=project.slug, columns=columns, n_bootstrap=N_BOOTSTRAP, seed=seed)


def leaderboard_report(*, project: Project, source: str = selectors.ALL, seed: int = 0) -> dict[str, Any]:
    """Build the object of `report_leaderboard --json`. Raises NoSuchSource."""
    selectors.judge_ids_of(project, source)
    games = selectors.games(project, source=source)
    return leaderboard(project=project.slug, source=source, games=games, seed=seed)
