"""The agreement report: how far judges agree with people, people with each other, and judges with themselves.

Details that the interface leaves open: `majority.none` counts items that somebody voted on or skipped and that have no
strict majority; a judge's `n_unparseable` is over items with truth, so that n_correct / (n + n_unparseable) is its
accuracy with unparsed verdicts counted as wrong (`raters` has the totals); orders are compared within a sample; Fleiss
is over items with the modal number of votes among those with two or more; AC1's scale is the outcomes that occur, at
least two. An interval needs two items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from prefloop.stats.alternative import EPSILON
from prefloop.stats.columns import (
    FAILED,
    UNPARSEABLE,
    AgreementColumns,
    ReportItem,
    ReportVerdict,
    ReportVote,
    columns_of,
)
from prefloop.stats.judge_report import JudgeRows, judge_pairs, judge_report, rows_by_judge
from prefloop.stats.leaderboard import Game, leaderboard_report
from prefloop.stats.people import baselines, human_human, majority_of
from prefloop.stats.strengths import UNSAID, Votes, strength_report
from prefloop.types import OUTCOMES

__all__ = [
    "Game",
    "ReportItem",
    "ReportVerdict",
    "ReportVote",
    "agreement_report",
    "agreement_report_of_columns",
    "columns_of",
    "leaderboard_report",
    "majority_of",
]

Report = dict[str, Any]


def agreement_report(
    *,
    project: str,
    items: Sequence[ReportItem],
    votes: Iterable[ReportVote],
    verdicts: Iterable[ReportVerdict],
    raters_kind: Mapping[str, str] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    epsilon: float = EPSILON,
) -> Report:
    """Build the object of `report_agreement --json`. `raters_kind` names kinds other than "human" and "judge"."""
    columns = columns_of(items, votes, verdicts)
    return agreement_report_of_columns(
        project=project, columns=columns, raters_kind=raters_kind, n_bootstrap=n_bootstrap, seed=seed, epsilon=epsilon
    )


def agreement_report_of_columns(
    *,
    project: str,
    columns: AgreementColumns,
    raters_kind: Mapping[str, str] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    epsilon: float = EPSILON,
) -> Report:
    """Build the same from columns that are coded already."""
    kinds = raters_kind or {}
    majority = majority_of(columns)
    touched = np.zeros(len(columns.gold), dtype=bool)
    touched[columns.vote_item] = True
    truth = np.where(columns.gold >= 0, columns.gold, majority)
    spoke = columns.vote_outcome >= 0
    n_votes = np.bincount(columns.vote_rater[spoke], minlength=len(columns.raters))
    raters = [
        {"name": name, "kind": kinds.get(name, "human"), "n": int(n_votes[i]), "n_unparseable": 0, "n_error": 0}
        for i, name in enumerate(columns.raters)
    ]
    judges = rows_by_judge(columns)
    for rows in judges:
        name = columns.judges[rows.code]
        counts = {
            "n": int((rows.outcome >= 0).sum()),
            "n_unparseable": int((rows.outcome == UNPARSEABLE).sum()),
            "n_error": int((rows.outcome == FAILED).sum()),
        }
        raters.append({"name": name, "kind": kinds.get(name, "judge"), **counts})
    chance: dict[str, int] = {"n_bootstrap": n_bootstrap, "seed": seed}  # kappa's error is a bootstrap's
    return {
        "project": project,
        "n_items": len(columns.gold),
        "n_gold": int((columns.gold >= 0).sum()),
        "n_majority": int((majority >= 0).sum()),
        "raters": raters,
        "human_human": human_human(columns),
        "majority": {outcome: int((majority == code).sum()) for code, outcome in enumerate(OUTCOMES)}
        | {"none": int((touched & (majority < 0)).sum())},
        "judges": [
            {"name": columns.judges[rows.code]} | judge_report(columns, rows, truth, epsilon=epsilon, **chance)
            for rows in judges
        ],
        "baselines": baselines(columns, truth),
        "judge_pairs": judge_pairs(columns, judges, **chance),
        "strength": _strength(columns, judges),
    }


def _strength(columns: AgreementColumns, judges: Sequence[JudgeRows]) -> Report | None:
    """Report agreement by how much better people found the answer; None where nobody said so."""
    if not (columns.vote_strength != UNSAID).any():
        return None
    votes = Votes(len(columns.gold), columns.vote_item, columns.vote_outcome, columns.vote_strength)
    return strength_report(votes, {columns.judges[rows.code]: (rows.item, rows.outcome) for rows in judges})
