"""Rows of a report as integer-coded columns, to handle a million verdicts.

Outcome codes are places in prefloop.types.OUTCOMES; SKIP and the states are codes of their own, all negative.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.agreement import MISSING
from prefloop.stats.strengths import UNSAID
from prefloop.types import OUTCOME_CODES, OUTCOMES, STRENGTHS, Outcome, Strength, VerdictState

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SKIP = MISSING  # a skipped vote, like a missing one, says nothing
UNPARSEABLE, FAILED, OTHER_STATE = -2, -3, -4
K = len(OUTCOMES)

STATE_CODES: dict[str, int] = {"unparseable": UNPARSEABLE, "error": FAILED}


@dataclass(frozen=True, slots=True)
class ReportItem:
    """A comparison: its held-out truth, the lengths of its answers in characters, their models, and the time."""

    id: Hashable
    gold: Outcome | None
    length_first: int
    length_second: int
    model_first: str = ""
    model_second: str = ""
    round: str = ""


@dataclass(frozen=True, slots=True)
class ReportVote:
    """One person's vote on one comparison; of several by the same person the last counts."""

    item: Hashable
    rater: str
    outcome: Outcome | Literal["skip"]
    strength: Strength | None = None  # how much better the chosen answer is, where it was said


@dataclass(frozen=True, slots=True)
class ReportVerdict:
    """One call to a judge. `order` "10": the canonical second answer was shown first; "": it follows from a ranking,
    which shows its answers in no order. `outcome` only if ok.
    """

    item: Hashable
    judge: str
    order: Literal["01", "10", ""]
    sample: int
    state: VerdictState
    outcome: Outcome | None
    p_first: float | None = None


def _no_codes() -> Ints:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class AgreementColumns:
    """The same, coded. Votes: one per (item, rater), sorted by item then rater. Raters and judges are sorted by name.

    What has a default may be left out if it is not known; figures made from it are then null.
    """

    gold: Ints  # (items,) outcome code or MISSING
    length_first: Ints
    length_second: Ints
    raters: tuple[str, ...]
    vote_item: Ints
    vote_rater: Ints
    vote_outcome: Ints  # outcome code or SKIP
    judges: tuple[str, ...]
    verdict_item: Ints
    verdict_judge: Ints
    verdict_swapped: NDArray[np.bool_]
    verdict_sample: Ints
    verdict_outcome: Ints  # outcome code, UNPARSEABLE, FAILED or OTHER_STATE
    # shown in no order: it follows from a ranking (empty: none is)
    verdict_unordered: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    verdict_p: Floats = field(default_factory=lambda: np.zeros(0))  # that the first is better; NaN: not said
    models: tuple[str, ...] = ()
    model_first: Ints = field(default_factory=_no_codes)  # (items,) place in `models` or MISSING
    model_second: Ints = field(default_factory=_no_codes)
    judge_models: tuple[tuple[int, ...], ...] = ()  # for each judge, the models that are itself
    rounds: tuple[str, ...] = ()
    round: Ints = field(default_factory=_no_codes)  # (items,) place in `rounds` or MISSING
    vote_strength: Ints = field(default_factory=_no_codes)  # of each vote: strengths.UNSAID, or an index of STRENGTHS


def own_models(judge: str, models: Sequence[str], *, known_as: Iterable[str] = ()) -> tuple[int, ...]:
    """Find the models that a judge itself is: by its name, by the part before a slash in it, or as `known_as`."""
    names = {judge.casefold(), judge.split("/", 1)[0].casefold(), *(name.casefold() for name in known_as)} - {""}
    return tuple(code for code, model in enumerate(models) if model.casefold() in names)


def columns_of(
    items: Sequence[ReportItem],
    votes: Iterable[ReportVote],
    verdicts: Iterable[ReportVerdict],
    *,
    raters: Iterable[str] = (),
    known_as: Mapping[str, Iterable[str]] | None = None,
) -> AgreementColumns:
    """Code the rows. Votes and verdicts on items that aren't given raise KeyError; `raters` adds silent people.

    `known_as` gives judges further names under which their model may have written answers.
    """
    place = {item.id: i for i, item in enumerate(items)}
    if len(place) != len(items):
        raise ValueError("two items have one id")
    vote_rows, verdict_rows = list(votes), list(verdicts)
    names = sorted({v.rater for v in vote_rows} | set(raters))
    judges = sorted({v.judge for v in verdict_rows})
    rater_code = {name: i for i, name in enumerate(names)}
    judge_code = {name: i for i, name in enumerate(judges)}
    item = _ints(place[v.item] for v in vote_rows)
    rater = _ints(rater_code[v.rater] for v in vote_rows)
    outcome = _ints(SKIP if v.outcome == "skip" else OUTCOME_CODES[v.outcome] for v in vote_rows)
    strength = _ints(UNSAID if v.strength is None else STRENGTHS.index(v.strength) for v in vote_rows)
    keep = _last_of_each(item * max(len(names), 1) + rater)
    models = sorted({name for i in items for name in (i.model_first, i.model_second) if name})
    model_code = {name: i for i, name in enumerate(models)}
    rounds = list(dict.fromkeys(i.round for i in items if i.round))
    round_code = {name: i for i, name in enumerate(rounds)}
    return AgreementColumns(
        gold=_ints(MISSING if i.gold is None else OUTCOME_CODES[i.gold] for i in items),
        length_first=_ints(i.length_first for i in items),
        length_second=_ints(i.length_second for i in items),
        raters=tuple(names),
        vote_item=item[keep],
        vote_rater=rater[keep],
        vote_outcome=outcome[keep],
        vote_strength=strength[keep],
        judges=tuple(judges),
        verdict_item=_ints(place[v.item] for v in verdict_rows),
        verdict_judge=_ints(judge_code[v.judge] for v in verdict_rows),
        verdict_swapped=np.fromiter((v.order == "10" for v in verdict_rows), dtype=np.bool_, count=len(verdict_rows)),
        verdict_unordered=np.fromiter((v.order == "" for v in verdict_rows), dtype=np.bool_, count=len(verdict_rows)),
        verdict_sample=_ints(v.sample for v in verdict_rows),
        verdict_outcome=_ints(_verdict_code(v) for v in verdict_rows),
        verdict_p=np.array([np.nan if v.p_first is None else v.p_first for v in verdict_rows], dtype=np.float64),
        models=tuple(models),
        model_first=_ints(model_code.get(i.model_first, MISSING) for i in items),
        model_second=_ints(model_code.get(i.model_second, MISSING) for i in items),
        judge_models=tuple(own_models(j, models, known_as=(known_as or {}).get(j, ())) for j in judges),
        rounds=tuple(rounds),
        round=_ints(round_code.get(i.round, MISSING) for i in items),
    )


def _verdict_code(verdict: ReportVerdict) -> int:
    if verdict.state == "ok":
        if verdict.outcome is None:
            raise ValueError(f"a verdict of {verdict.judge} is ok without an outcome")
        return OUTCOME_CODES[verdict.outcome]
    return STATE_CODES.get(verdict.state, OTHER_STATE)


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)


def _last_of_each(key: Ints) -> Ints:
    """Give the place of the last row of each key, keys ascending."""
    _, from_the_end = np.unique(key[::-1], return_index=True)
    return np.asarray(len(key) - 1 - from_the_end, dtype=np.int64)
