"""The data of the reports, and of their lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Count, Exists, F, OuterRef, TextField, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce
from numpy.typing import NDArray

from apps.core.columns import fetch
from apps.labels import columns
from apps.labels.models import Judge, Verdict
from apps.labels.selectors import judge_names, standing_decisions
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison
from prefloop.stats.columns import AgreementColumns
from prefloop.stats.games import HUMAN as HUMAN_SOURCE
from prefloop.stats.games import GameColumns
from prefloop.types import OUTCOMES, Outcome, PrefloopError

Ints = NDArray[np.int64]
ALL, HUMAN = "all", "human"


class NoSuchSource(PrefloopError):
    """A leaderboard by an unknown source."""


def agreement_columns(
    project: Project, *, criterion: str = "", unchosen: bool = False
) -> tuple[AgreementColumns, Ints]:
    """Code a project's comparisons, the current votes and all verdicts by a criterion; also returns the items'
    comparison ids.

    `unchosen`: without votes on pairs that were chosen by what judges said of them.
    """
    pairs = columns.pairs_of(project)
    names = judge_names(project)
    coded = columns.agreement_columns(project, names, pairs=pairs, criterion=criterion, unchosen=unchosen)
    return coded, pairs.id


def n_chosen_votes(project: Project, criterion: str = "") -> int:
    """How many of the votes that count are on pairs that were chosen by what judges said of them."""
    return columns.current_votes(project, criterion).filter(by_chance=False).count()


@dataclass(frozen=True, slots=True)
class Games:
    """Every label of a project as a game; `judges` names the sources of the games by their code."""

    columns: GameColumns
    judges: tuple[str, ...]

    def of(self, source: str) -> GameColumns:
        """Keep the games of `source`: all | human | a judge's name."""
        if source == ALL:
            return self.columns
        codes = [HUMAN_SOURCE] if source == HUMAN else [i for i, name in enumerate(self.judges) if name == source]
        return self.columns.where(np.isin(self.columns.source, codes))


def games(project: Project, criterion: str = "", *, style: bool = False) -> Games:
    """Fetch each current vote and each verdict by a criterion as a game; with `style`, with the answers' style.

    A skip, an unparsed verdict or an answer without a model's name is a game that can't be used.
    """
    found, judges = columns.game_columns(project, criterion, style=style)
    names = judge_names(project)
    return Games(found, tuple(names[key] for key in judges))


def judge_ids_of(project: Project, source: str) -> list[int] | None:
    """Return the judges that a source names; None if it names none. Raises NoSuchSource."""
    if source in {ALL, HUMAN}:
        return None
    names = judge_names(project)
    found = [key for key, name in names.items() if name == source]
    if not found:
        there = ", ".join([ALL, HUMAN, *sorted(set(names.values()))])
        raise NoSuchSource(f"no source {source!r} in project {project.slug}; there are: {there}")
    return found


def source_list(project: Project, criterion: str = "") -> list[str]:
    """Name the judges that have verdicts by a criterion."""
    said = Exists(Verdict.objects.filter(judge=OuterRef("pk")))
    spoken = Judge.objects.filter(said, project=project, criterion_name=criterion).values_list("id", flat=True)
    names = judge_names(project)
    return sorted({names[key] for key in spoken})


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A comparison as a list shows it."""

    id: int
    prompt: str
    first: str
    second: str


def excerpts(project: Project, ids: Sequence[int]) -> dict[int, Excerpt]:
    """Give these comparisons of the project, by id."""
    shown = columns.comparisons_of(project).filter(pk__in=ids)
    rows = shown.values_list("id", "prompt__text", "first__text", "second__text")
    return {row[0]: Excerpt(*row) for row in rows}


def outcome_name(code: int) -> Outcome | None:
    return OUTCOMES[code] if 0 <= code < len(OUTCOMES) else None


# --- what people did having seen the verdict ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Overrides:
    """Reviewed labels of a judge: how many were changed, and why. Current decisions only."""

    name: str
    n: int
    n_changed: int
    reasons: tuple[tuple[str, int], ...]  # the most frequent first; "" where none was given


def override_list(project: Project, *, criterion: str = "", n_reasons: int = 8) -> list[Overrides]:
    """Count, for each judge of a criterion, the current decisions made after seeing its label; judges without a review
    are left out.
    """
    standing = standing_decisions(criterion).filter(ready("comparison__"), comparison__project=project)
    names = judge_names(project)
    corrections = standing.filter(kind="override").exclude(choice=F("judge_outcome"))
    reviewed, changed = (
        dict(rows.values_list("judge_id").annotate(n=Count("id")).order_by("judge_id"))
        for rows in (standing, corrections)
    )
    reasons: dict[int, list[tuple[str, int]]] = {}
    said = corrections.values_list("judge_id", "reason").annotate(n=Count("id"))
    for judge, reason, n in said.order_by("judge_id", "-n", "reason"):
        reasons.setdefault(judge, []).append((reason.strip(), n))
    return [
        Overrides(names[key], n, changed.get(key, 0), tuple(reasons.get(key, [])[:n_reasons]))
        for key, n in sorted(reviewed.items(), key=lambda pair: names[pair[0]])
    ]


# --- slices -----------------------------------------------------------------------------------------------------------

_SAMPLED = 200  # comparisons looked at to find the keys there are: the first, the latest, and as many between


@dataclass(frozen=True, slots=True)
class Slices:
    """Comparisons by the value of one metadata key: an index into `values` each, -1 if it has none."""

    key: str
    values: tuple[str, ...]
    place: Ints


def slice_keys(comparison_ids: Ints) -> list[str]:
    """Name the keys by which these comparisons can be split: metadata of prompts, and "answer." for that of answers."""
    ids = comparison_ids
    between = ids[np.linspace(0, len(ids) - 1, min(_SAMPLED, len(ids)), dtype=np.int64)]
    looked_at = np.unique(np.concatenate([ids[:_SAMPLED], between, ids[-_SAMPLED:]]))
    rows = Comparison.objects.filter(pk__in=looked_at.tolist())
    found, of_answers = set(), set()
    for prompt, *answers in rows.values_list("prompt__metadata", "first__metadata", "second__metadata"):
        found |= _plain_keys(prompt)
        of_answers |= {f"answer.{key}" for metadata in answers for key in _plain_keys(metadata)}
    return sorted(found) + sorted(of_answers)


def _plain_keys(metadata: Any) -> set[str]:
    return {key for key, value in metadata.items() if _is_plain(value)} if isinstance(metadata, dict) else set()


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 80


def slices(project: Project, key: str, comparison_ids: Ints, *, most: int = 12) -> Slices:
    """Split the report's items by a key; of more than `most` values the rarest are merged. An answer's value is the
    one both answers share, else "first/second".
    """
    comparisons = columns.comparisons_of(project)
    if key.startswith("answer."):
        name = key.removeprefix("answer.")
        first, second = (_text(f"{side}__metadata", name) for side in ("first", "second"))
        rows = fetch(comparisons, id=(int, "id"), a=(str, first), b=(str, second))
        a, b = ([*texts.names, ""] for texts in (rows["a"], rows["b"]))  # the last is that of place -1
        both, which = np.unique(rows["a"].place * len(b) + rows["b"].place % len(b), return_inverse=True)
        named = [_of_both(a[pair // len(b)], b[pair % len(b)]) for pair in both.tolist()]
        values = sorted(set(named) - {""})
        code = np.array([values.index(name) if name else -1 for name in named], dtype=np.int64)
        found = code[which.ravel()]
    else:
        rows = fetch(comparisons, id=(int, "id"), value=(str, _text("prompt__metadata", key)))
        values, found = rows["value"]
    at = np.minimum(np.searchsorted(comparison_ids, rows["id"]), max(len(comparison_ids) - 1, 0))
    there = comparison_ids[at] == rows["id"]  # what came since the report was made has no place in it
    place = np.full(len(comparison_ids), -1)
    place[at[there]] = found[there]
    counts = np.bincount(place[place >= 0], minlength=len(values))
    if len(values) > most:
        kept = np.sort(np.argsort(-counts, kind="stable")[: most - 1])
        new = np.full(len(values) + 1, len(kept))
        new[kept] = np.arange(len(kept))
        new[-1] = -1
        place, values = new[place], [*(values[i] for i in kept.tolist()), f"{len(values) - len(kept)} others"]
    return Slices(key, tuple(values), place)


def _of_both(first: str, second: str) -> str:
    return first if first == second else f"{first or '–'} / {second or '–'}"


def _text(column: str, key: str) -> Coalesce:
    return Coalesce(Cast(KeyTextTransform(key, column), TextField()), Value("", TextField()))
