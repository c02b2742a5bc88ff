from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from prefloop.records import Record, comparisons_of, outcome_of
from prefloop.stats.report import Game, ReportItem, ReportVerdict, ReportVote

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"

Rows = tuple[list[ReportItem], list[ReportVote], list[ReportVerdict]]


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("shared-data")
    return SHARED


@pytest.fixture
def report_rows() -> Callable[[Iterable[Record]], Rows]:
    """Give what the agreement report reads, from records: what the exchange app does through the database."""

    def rows(records: Iterable[Record]) -> Rows:
        items: list[ReportItem] = []
        votes: list[ReportVote] = []
        verdicts: list[ReportVerdict] = []
        for record in records:
            gold = {g.pair: outcome_of(g.choice) for g in record.gold}
            for i, j in comparisons_of(record):
                lengths = len(record.completions[i].text), len(record.completions[j].text)
                items.append(ReportItem((record.id, i, j), gold.get((i, j)), *lengths))
            for v in record.votes:
                outcome = "skip" if v.choice == "skip" else outcome_of(v.choice)
                assert outcome is not None
                votes.append(ReportVote((record.id, *v.pair), v.rater, outcome))
            for d in record.verdicts:
                outcome = outcome_of(d.choice, p_first=d.p_first) if d.state == "ok" else None
                order = "01" if d.order == (0, 1) else "10"
                verdicts.append(ReportVerdict((record.id, *d.pair), d.judge, order, d.sample, d.state, outcome))
        return items, votes, verdicts

    return rows


@pytest.fixture
def games_of() -> Callable[[Iterable[Record]], list[Game]]:
    def games(records: Iterable[Record]) -> list[Game]:
        return [
            Game(
                record.completions[v.pair[0]].model,
                record.completions[v.pair[1]].model,
                outcome_of(v.choice) if v.state == "ok" else None,
                "a" if v.order == (0, 1) else "b",
            )
            for record in records
            for v in record.verdicts
        ]

    return games
