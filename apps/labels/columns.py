"""A project's comparisons, votes and verdicts as arrays: what figures of judges are made of. A query each, no rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from django.db.models import Count, F, Max, Q, QuerySet
from numpy.typing import NDArray

from apps.core.columns import coded, fetch
from apps.labels.measured import unmeasured
from apps.labels.models import Exclusion, GoldItem, Judge, Verdict, Vote
from apps.labels.selectors import by_criterion, counted
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, ready
from apps.samples.models import Comparison, Completion, comparable
from prefloop.judging.verdicts import ORDER_OF_CODE
from prefloop.stats.agreement import MISSING
from prefloop.stats.columns import OTHER_STATE, SKIP, STATE_CODES, AgreementColumns, own_models
from prefloop.stats.games import HUMAN, SCORE_OF_CODE, GameColumns
from prefloop.stats.strengths import UNSAID
from prefloop.stats.style import FEATURES, style_differences, style_of
from prefloop.types import OUTCOME_CODES, OUTCOMES, STRENGTHS, UNLABELLED

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ORDER = {code: order[0] for code, order in ORDER_OF_CODE.items()}
UNKNOWN_ORDER = -1
_STRENGTH_CODES: dict[str, int] = {name: code for code, name in enumerate(STRENGTHS)}
# what each code may be: such columns travel together
OUTCOME_RANGE, ORDERS, _STATES = (
    range(MISSING, len(OUTCOMES)),
    range(UNKNOWN_ORDER, 2),
    range(OTHER_STATE, len(OUTCOMES)),
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The comparisons in order of id; models and rounds of loops are numbered, MISSING if there is none."""

    id: Ints
    gold: Ints
    length_first: Ints
    length_second: Ints
    model_first: Ints
    model_second: Ints
    models: tuple[str, ...]
    round: Ints
    rounds: tuple[str, ...]  # as origins: "loop:3:1", in the order in which they were


@dataclass(frozen=True, slots=True)
class Said:
    """Current votes, or verdicts: `item` is an index into the pairs, `order` is 1 if the second was shown first."""

    item: Ints
    who: Ints  # a place in `names` for votes, the judge's id for verdicts
    order: Ints
    outcome: Ints
    sample: Ints
    p: Floats
    names: tuple[str, ...] = ()
    strength: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # of votes: UNSAID, or of STRENGTHS


def pairs_of(project: Project) -> Pairs:
    comparisons = fetch(
        comparisons_of(project),
        id=(int, "id"),
        first=(int, "first_id"),
        second=(int, "second_id"),
        gold=(OUTCOME_RANGE, coded("gold", OUTCOME_CODES, default=MISSING)),
    )
    answers = fetch(
        Completion.objects.filter(project=project),
        id=(int, "id"),
        length=(int, "n_characters"),
        model=(str, "model_name"),
    )
    models, model = answers["model"]
    by_id = np.argsort(answers["id"])
    ids, length, model = answers["id"][by_id], answers["length"][by_id], model[by_id]
    order = np.argsort(comparisons["id"])
    id_ = comparisons["id"][order]
    first, second = (np.searchsorted(ids, comparisons[side][order]) for side in ("first", "second"))
    rounds, round_ = _rounds(project, id_)
    return Pairs(
        id=id_,
        gold=comparisons["gold"][order],
        length_first=length[first],
        length_second=length[second],
        model_first=model[first],
        model_second=model[second],
        models=tuple(models),
        round=round_,
        rounds=rounds,
    )


def _rounds(project: Project, ids: Ints) -> tuple[tuple[str, ...], Ints]:
    found = fetch(
        comparisons_of(project).filter(origin__regex=r"^loop:[0-9]+:[0-9]+$"), id=(int, "id"), origin=(str, "origin")
    )
    names, place = found["origin"]
    order = sorted(range(len(names)), key=lambda code: _round_key(names[code]))
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    out = np.full(len(ids), MISSING)
    out[np.searchsorted(ids, found["id"])] = rank[place]
    return tuple(names[code] for code in order), out


def votes_of(project: Project, pairs: Pairs, *, criterion: str = "", unchosen: bool = False) -> Said:
    """Fetch each person's last blind vote on each comparison by a criterion, unless it was withdrawn or does not count
    (an excluded person's); by item, then rater. `unchosen`: without votes on pairs that were chosen by what judges said
    of them.
    """
    votes = current_votes(project, criterion)
    rows = fetch(
        votes.exclude(by_chance=False) if unchosen else votes,
        item=(int, "comparison_id"),
        rater=(str, "rater"),
        outcome=(OUTCOME_RANGE, coded("choice", OUTCOME_CODES, default=SKIP)),
        order=(ORDERS, coded("order", ORDER, default=UNKNOWN_ORDER)),
        strength=(range(UNSAID, len(STRENGTHS)), coded("strength", _STRENGTH_CODES, default=UNSAID)),
    )
    names, rater = rows["rater"]
    item, known = places(pairs, rows["item"])
    order = np.argsort(item[known] * max(len(names), 1) + rater[known])
    kept = known[order]
    n = len(order)
    return Said(
        item[kept],
        rater[kept],
        rows["order"][kept],
        rows["outcome"][kept],
        np.zeros(n, dtype=np.int64),
        np.full(n, np.nan),
        tuple(names),
        rows["strength"][kept],
    )


def current_votes(project: Project, criterion: str | None = "") -> QuerySet[Vote]:
    """Return the votes that figures are made of; asked so that the database reads the votes once."""
    replaced = Vote.objects.filter(supersedes__isnull=False).values("supersedes")
    blind = Vote.objects.filter(comparison__project=project, choice__in=[*OUTCOMES, *UNLABELLED], adjudication=False)
    rows = by_criterion(blind.exclude(pk__in=replaced), criterion)
    return counted(rows) if Exclusion.objects.filter(project=project, lifted_at=None).exists() else rows


def verdicts_of(project: Project, pairs: Pairs, criterion: str | None = "") -> Said:
    """Fetch every verdict by a criterion, by item, judge, order and sample."""
    asked = by_criterion(Judge.objects.filter(project=project), criterion, "criterion_name")
    judges = np.sort(np.array(asked.values_list("id", flat=True), dtype=np.int64))
    if not len(judges):
        none = np.zeros(0, dtype=np.int64)
        return Said(none, none, none, none, none, np.zeros(0))
    rows = fetch(
        Verdict.objects.filter(judge__in=judges.tolist()),
        item=(int, "comparison_id"),
        judge=(range(int(judges[0]), int(judges[-1]) + 1), "judge_id"),
        order=(ORDERS, coded("order", ORDER, default=UNKNOWN_ORDER)),
        sample=(range(2**15), "sample"),
        outcome=(_STATES, coded("outcome", OUTCOME_CODES, default=coded("state", STATE_CODES, default=OTHER_STATE))),
        p=(float, "p_first"),
    )
    item, known = places(pairs, rows["item"])
    key = item * len(judges) + np.searchsorted(judges, rows["judge"])
    key = (key * len(ORDERS) + rows["order"] - UNKNOWN_ORDER) * 2**15 + rows["sample"]
    kept = known[np.argsort(key[known])]
    return Said(
        item[kept],
        rows["judge"][kept],
        rows["order"][kept],
        rows["outcome"][kept],
        rows["sample"][kept],
        rows["p"][kept],
    )


def _distinct(judges: Ints) -> Ints:
    """Return the judges that occur, sorted, by counting: they are few and their verdicts many."""
    if not len(judges):
        return judges
    low = int(judges.min())
    return np.flatnonzero(np.bincount(judges - low)) + low


def places(pairs: Pairs, ids: Ints) -> tuple[Ints, Ints]:
    """Return each row's index among the pairs, and which rows have one: those of an unfinished import have none."""
    if not len(pairs.id):
        return np.zeros(len(ids), dtype=np.int64), np.zeros(0, dtype=np.int64)
    place = np.minimum(np.searchsorted(pairs.id, ids), len(pairs.id) - 1)
    return place, np.flatnonzero(pairs.id[place] == ids)


def agreement_columns(
    project: Project,
    names: Mapping[int, str],
    *,
    pairs: Pairs | None = None,
    verdicts: Said | None = None,
    criterion: str = "",
    unchosen: bool = False,
) -> AgreementColumns:
    """Code a project for the agreement report. `names` gives the judges' names by id; `unchosen` as in `votes_of`.

    Gold is what is better by the unnamed criterion, and says nothing of a named one.
    """
    pairs = pairs_of(project) if pairs is None else pairs
    if criterion:
        pairs = replace(pairs, gold=np.full(len(pairs.id), MISSING))
    votes = votes_of(project, pairs, criterion=criterion, unchosen=unchosen)
    said = verdicts_of(project, pairs, criterion) if verdicts is None else verdicts
    verdicts = _measured(project, pairs, said)
    present = _distinct(verdicts.who)
    judges = sorted({names[key] for key in present.tolist()})
    code = {key: judges.index(names[key]) for key in present.tolist()}
    place = np.array([code[key] for key in present.tolist()], dtype=np.int64)
    known_as = _known_as(project, names)
    return AgreementColumns(
        gold=pairs.gold,
        length_first=pairs.length_first,
        length_second=pairs.length_second,
        raters=votes.names,
        vote_item=votes.item,
        vote_rater=votes.who,
        vote_outcome=votes.outcome,
        vote_strength=votes.strength,
        judges=tuple(judges),
        verdict_item=verdicts.item,
        verdict_judge=place[np.searchsorted(present, verdicts.who)] if len(present) else verdicts.who,
        verdict_swapped=verdicts.order == 1,
        verdict_unordered=verdicts.order == UNKNOWN_ORDER,
        verdict_sample=verdicts.sample,
        verdict_outcome=verdicts.outcome,
        verdict_p=verdicts.p,
        models=pairs.models,
        model_first=pairs.model_first,
        model_second=pairs.model_second,
        judge_models=tuple(own_models(j, pairs.models, known_as=known_as.get(j, ())) for j in judges),
        rounds=tuple(_round_name(origin) for origin in pairs.rounds),
        round=pairs.round,
    )


def _measured(project: Project, pairs: Pairs, verdicts: Said) -> Said:
    """Leave out what aligned judges said of pairs of prompts that they may have been shown."""
    for judge, ids in unmeasured(project).items():
        unmeasured_items = np.isin(pairs.id[verdicts.item], np.array(sorted(ids), dtype=np.int64))
        kept = np.flatnonzero(~((verdicts.who == judge) & unmeasured_items))
        columns = {name: getattr(verdicts, name)[kept] for name in ("item", "who", "order", "outcome", "sample", "p")}
        verdicts = Said(**columns, names=verdicts.names)
    return verdicts


def game_columns(project: Project, criterion: str = "", *, style: bool = False) -> tuple[GameColumns, tuple[int, ...]]:
    """Code every label by a criterion as a game between models; with `style`, with the style of the answers.

    `source` is HUMAN or an index into the returned judges' ids.
    """
    pairs = pairs_of(project)
    votes, verdicts = votes_of(project, pairs, criterion=criterion), verdicts_of(project, pairs, criterion)
    judges = _distinct(verdicts.who)
    item = np.concatenate([votes.item, verdicts.item])
    outcome = np.concatenate([votes.outcome, verdicts.outcome])
    order = np.concatenate([votes.order, verdicts.order])
    source = np.concatenate([np.full(len(votes.item), HUMAN), np.searchsorted(judges, verdicts.who)])
    games = GameColumns(
        models=pairs.models,
        a=pairs.model_first[item],
        b=pairs.model_second[item],
        score=np.where(outcome >= 0, SCORE_OF_CODE[np.maximum(outcome, 0)], np.nan),
        shown=np.where(order == UNKNOWN_ORDER, 0.0, 1.0 - 2.0 * order),
        item=item,
        length_difference=(pairs.length_first - pairs.length_second)[item].astype(np.float64),
        source=source.astype(np.int64),
        style=_styles(project, pairs)[item] if style else None,
    )
    return games, tuple(judges.tolist())


def _styles(project: Project, pairs: Pairs) -> Floats:
    """Read the answers of the pairs, once each, and return how the style of both differs, (pairs, features)."""
    compared = comparisons_of(project)
    rows = fetch(compared, id=(int, "id"), first=(int, "first_id"), second=(int, "second_id"))
    either = Q(pk__in=compared.values("first_id")) | Q(pk__in=compared.values("second_id"))
    texts = Completion.objects.filter(either, project=project).values_list("id", "text").iterator()
    of = {key: style_of(text) for key, text in texts}
    place, known = places(pairs, rows["id"])
    none = (0,) * len(FEATURES)
    found = np.zeros((len(pairs.id), len(FEATURES)))
    if len(known):
        first, second = ([of.get(key, none) for key in rows[side][known].tolist()] for side in ("first", "second"))
        found[place[known]] = style_differences(first, second)
    return found


def comparisons_of(project: Project) -> QuerySet[Comparison]:
    """Return the comparisons for figures: a project's comparisons without those of equal answers."""
    return Comparison.objects.filter(ready(), comparable(), project=project)


def content_version(project: Project) -> str:
    """Return a short hash that changes whenever a report's data does; labels are only ever appended."""
    comparisons = Comparison.objects.filter(project=project)
    gold = GoldItem.objects.filter(Q(comparison__project=project) | Q(completion__project=project))
    parts: list[dict[str, Any]] = [
        {"erased": Project.objects.filter(pk=project.pk).values_list("n_erasures", flat=True).first()},
        comparisons.aggregate(n=Count("id"), last=Max("id")),
        comparisons.aggregate(last=Max("votes__id")),
        comparisons.aggregate(last=Max("overrides__id")),
        Verdict.objects.filter(judge__project=project).aggregate(last=Max("id")),
        ImportBatch.objects.filter(project=project, ready=True).aggregate(n=Count("id"), last=Max("id")),
        Exclusion.objects.filter(project=project).aggregate(last=Max("id"), lifted=Count("lifted_at")),
        gold.aggregate(n=Count("id"), last=Max("marked_at")),
    ]
    words = "-".join(".".join(str(value or 0) for value in part.values()) for part in parts)
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def _known_as(project: Project, names: Mapping[int, str]) -> dict[str, list[str]]:
    """Return the names under which a judge's own model may have written answers: its endpoint's model, its
    checkpoint.
    """
    found: dict[str, list[str]] = {}
    rows = Judge.objects.filter(project=project).exclude(Q(endpoint=None) & Q(checkpoint=None))
    for key, model, checkpoint in rows.values_list("id", "endpoint__model", F("checkpoint__name")):
        if key in names:
            found.setdefault(names[key], []).extend(name for name in (model, checkpoint) if name)
    return found


def _round_key(origin: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in origin.split(":")[1:])


def _round_name(origin: str) -> str:
    """Write "loop:3:1" in words."""
    _, loop, *rest = [*origin.split(":"), ""]
    return f"loop {loop}, round {rest[0]}" if rest and rest[0] else f"loop {loop}"
