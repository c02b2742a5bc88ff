"""The report on people's ratings: each item of the rubric, by source and by person, and the ratings behind a number."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from django.db.models import Exists, Max, OuterRef
from numpy.typing import NDArray

from apps.core.kept_figures import cache
from apps.labels import columns
from apps.labels.models import Rating
from apps.labels.ratings import ratings_given
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison
from prefloop.rubrics import HIGHEST, LOWEST, YES_NO, Item, rubric_loaded
from prefloop.stats.agreement import Level
from prefloop.stats.people import strict_majority
from prefloop.stats.ratings import RatingColumns, rated_as_chosen, ratings_report
from prefloop.types import OUTCOMES, PrefloopError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

N_BOOTSTRAP = 1000
KEPT_SECONDS = 3600
TOTAL = ":total"  # the weighted mean of all items; no item can have this name
AGREE, AGAINST, EQUAL, TIED = "agree", "against", "equal", "tied"
PAIRS = (AGREE, AGAINST, EQUAL, TIED)  # of pairs: ratings and votes agree, or not; equal ratings; votes for neither
_CHOSEN = np.array([1, -1, 0, 0])  # in the order of OUTCOMES


class NoSuchItem(PrefloopError):
    """No rating has an item of this name."""


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    answer: int
    prompt: int
    rater: str
    source: str
    total: float
    values: dict[str, int]
    kinds: dict[str, str]  # of the items that were on the screen


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report on ratings is about: those under one version of the guidelines ("" all), beside votes by a
    criterion.
    """

    guideline: str = ""
    criterion: str = ""


@dataclass(frozen=True, slots=True)
class Behind:
    """Which of an item's ratings are behind a number; "" and None leave a part open. `shared`: of answers that two
    people or more rated.
    """

    item: str
    value: int | None = None
    source: str | None = None
    rater: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True)
class PairBehind:
    """A pair whose answers were rated and compared; the means are of its answers' ratings by the item."""

    comparison: int
    first: float
    second: float


class Ratings:
    """The ratings that count, read once."""

    def __init__(self, project: Project, asked: Asked) -> None:
        self.project, self.asked = project, asked
        found = ratings_given(project)
        if asked.guideline:
            found = found.filter(guideline=asked.guideline)
        names = ("pk", "completion_id", "completion__prompt_id", "rater", "completion__model_name", "total", "values")
        self.rows: list[_Row] = []
        rubrics: dict[str, dict[str, str]] = {}
        self._items: dict[tuple[str, str], Item] = {}
        self._wordings: dict[tuple[str, str], set[str]] = {}
        for pk, answer, prompt, rater, source, total, values, rubric in (
            found.order_by("pk").values_list(*names, "rubric").iterator(chunk_size=2000)
        ):
            key = str(rubric)
            if key not in rubrics:
                items = rubric_loaded(rubric)
                rubrics[key] = {item.name: item.kind for item in items}
                for item in items:
                    self._items[item.name, item.kind] = item  # the latest wording stands last
                    self._wordings.setdefault((item.name, item.kind), set()).add(item.question)
            self.rows.append(_Row(pk, answer, prompt, rater, source, total, values, rubrics[key]))

    @cached_property
    def items(self) -> dict[str, Item]:
        """The items by the names that the report gives them: with the kind where one name has had two."""
        twice = Counter(name for name, _ in self._items)
        return {
            name if twice[name] == 1 else f"{name} ({kind})": item for (name, kind), item in sorted(self._items.items())
        }

    def item(self, name: str) -> Item | None:
        """The item of a name in the report, None for the total. Raises NoSuchItem."""
        if name == TOTAL:
            return None
        if name not in self.items:
            raise NoSuchItem(f"project {self.project.slug} has no rating by an item {name!r}")
        return self.items[name]

    def values(self, item: Item | None) -> Floats:
        """Each rating's value by an item, or its total; NaN where it has none."""
        if item is None:
            return np.array([row.total for row in self.rows], dtype=np.float64)
        given = (row.values[item.name] if row.kinds.get(item.name) == item.kind else np.nan for row in self.rows)
        return np.fromiter(given, dtype=np.float64, count=len(self.rows))

    def columns(self, item: Item | None) -> RatingColumns:
        value = self.values(item)
        rated = np.flatnonzero(~np.isnan(value))
        raters, rater = self._raters
        sources, source = self._sources
        return RatingColumns(
            value=value[rated],
            answer=self._answer[rated],
            rater=rater[rated],
            prompt=self._prompt[rated],
            source=source[rated],
            raters=raters,
            sources=sources,
            lowest=0.0 if item is None else float(LOWEST[item.kind]),
            highest=1.0 if item is None else float(HIGHEST[item.kind]),
            options=() if item is None else tuple(sorted(item.options)),
        )

    @cached_property
    def _answer(self) -> Ints:
        return np.array([row.answer for row in self.rows], dtype=np.int64)

    @cached_property
    def _prompt(self) -> Ints:
        return np.array([row.prompt for row in self.rows], dtype=np.int64)

    @cached_property
    def _raters(self) -> tuple[tuple[str, ...], Ints]:
        return _numbered([row.rater for row in self.rows])

    @cached_property
    def _sources(self) -> tuple[tuple[str, ...], Ints]:
        return _numbered([row.source for row in self.rows])

    def means(self, item: Item | None) -> dict[int, float]:
        """The mean of each answer's ratings."""
        value = self.values(item)
        rated = ~np.isnan(value)
        answers, of = np.unique(self._answer[rated], return_inverse=True)
        means = np.bincount(of.ravel(), value[rated]) / np.bincount(of.ravel()) if len(answers) else answers
        return dict(zip(answers.tolist(), means.tolist(), strict=True))

    @cached_property
    def voted(self) -> list[tuple[int, int, int, int, int]]:
        """Pairs of rated answers that people have compared themselves: (comparison, first, second, prompt, chosen).
        Comparisons that follow from ratings are none.
        """
        rated = Rating.objects.filter(choice="rated")
        sides = [Exists(rated.filter(completion=OuterRef(f"comparison__{side}"))) for side in ("first", "second")]
        votes = columns.current_votes(self.project, self.asked.criterion).filter(ready("comparison__"), *sides)
        votes = votes.filter(choice__in=OUTCOMES, ranking__rating=None).order_by()
        sums: dict[tuple[int, int, int, int], list[int]] = {}
        on = ("comparison_id", "comparison__first_id", "comparison__second_id", "comparison__prompt_id")
        for *pair, choice in votes.values_list(*on, "choice"):
            a, b, c, d = pair
            sums.setdefault((a, b, c, d), [0] * len(OUTCOMES))[OUTCOMES.index(choice)] += 1
        majority = strict_majority(np.array(list(sums.values()), dtype=np.int64).reshape(-1, len(OUTCOMES)))
        chosen = np.where(majority >= 0, _CHOSEN[majority], 0)
        return [(*pair, said) for pair, said in zip(sums, chosen.tolist(), strict=True)]

    def pairs(self, item: Item | None) -> tuple[list[PairBehind], Ints, Ints]:
        """The compared pairs whose answers both have a rating by the item, what was chosen, and their prompts."""
        means = self.means(item)
        there = [one for one in self.voted if one[1] in means and one[2] in means]
        found = [PairBehind(key, means[first], means[second]) for key, first, second, _, _ in there]
        chosen = np.array([one[4] for one in there], dtype=np.int64)
        return found, chosen, np.array([one[3] for one in there], dtype=np.int64)

    def report(self, item: Item | None, *, seed: int) -> dict[str, Any]:
        level: Level = "interval" if item is None else "nominal" if item.kind == YES_NO else "ordinal"
        pairs, chosen, prompt = self.pairs(item)
        apart = np.array([pair.first - pair.second for pair in pairs], dtype=np.float64)
        found = ratings_report(self.columns(item), level=level, n_bootstrap=N_BOOTSTRAP, seed=seed)
        return found | {"pairs": rated_as_chosen(apart, chosen, prompt)}

    def whole(self, *, seed: int) -> dict[str, Any]:
        items = [
            {
                "item": name,
                "name": item.name,
                "kind": item.kind,
                "question": item.question,
                "n_wordings": len(self._wordings[item.name, item.kind]),
                **self.report(item, seed=seed),
            }
            for name, item in self.items.items()
        ]
        return {
            "n": len(self.rows),
            "n_answers": len(np.unique(self._answer)),
            "n_prompts": len(np.unique(self._prompt)),
            "n_people": len(self._raters[0]),
            "items": items,
            "total": self.report(None, seed=seed),
        }

    def behind(self, asked: Behind) -> list[int]:
        """The ids of the ratings behind a number, the newest first. Raises NoSuchItem."""
        value = self.values(self.item(asked.item))
        n_of = Counter(row.answer for row, v in zip(self.rows, value.tolist(), strict=True) if v == v)
        found = [
            row.id
            for row, said in zip(self.rows, value.tolist(), strict=True)
            if said == said  # not NaN
            and (asked.value is None or said == asked.value)
            and (asked.source is None or row.source == asked.source)
            and (not asked.rater or row.rater == asked.rater)
            and (not asked.shared or n_of[row.answer] >= 2)
        ]
        return found[::-1]

    def pairs_behind(self, item: str, how: str) -> list[PairBehind]:
        """The pairs on which ratings and votes meet in one of the ways PAIRS. Raises NoSuchItem."""
        pairs, chosen, _ = self.pairs(self.item(item))
        return [pair for pair, said in zip(pairs, chosen.tolist(), strict=True) if _how(pair, said) == how]


def _how(pair: PairBehind, chosen: int) -> str:
    apart = pair.first - pair.second
    if not chosen:
        return TIED
    if abs(apart) <= 1e-9:
        return EQUAL
    return AGREE if (apart > 0) == (chosen > 0) else AGAINST


def _numbered(names: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    known = sorted(set(names))
    place = {name: at for at, name in enumerate(known)}
    return tuple(known), np.array([place[name] for name in names], dtype=np.int64)


def report_of(project: Project, asked: Asked = Asked(), *, seed: int = 0) -> dict[str, Any]:
    """Build the object of `report_ratings --json`; cached until there is a new label."""
    last = Rating.objects.filter(completion__project=project).aggregate(last=Max("pk"))["last"]
    words = f"{project.pk}:{columns.content_version(project)}:{last}:{asked}:{seed}"
    key = f"ratings:{hashlib.sha256(words.encode()).hexdigest()[:24]}"
    kept: dict[str, Any] | None = cache.get(key)
    if kept is None:
        about = {"project": project.slug, "guideline": asked.guideline, "criterion": asked.criterion}
        kept = about | Ratings(project, asked).whole(seed=seed) | {"n_bootstrap": N_BOOTSTRAP, "seed": seed}
        cache.set(key, kept, KEPT_SECONDS)
    return kept


def ratings_shown(ids: Sequence[int]) -> list[Rating]:
    """Fetch ratings with their answers, in the order of their ids given."""
    found = Rating.objects.select_related("completion__prompt").defer("completion__token_ids").in_bulk(ids)
    return [found[key] for key in ids if key in found]


def pairs_shown(pairs: Sequence[PairBehind]) -> list[tuple[PairBehind, Comparison]]:
    """Fetch the comparisons of these pairs, in their order."""
    rows = Comparison.objects.select_related("prompt", "first", "second")
    rows = rows.defer("first__token_ids", "second__token_ids")
    found = rows.in_bulk([pair.comparison for pair in pairs])
    return [(pair, found[pair.comparison]) for pair in pairs if pair.comparison in found]


def guidelines_that_rate(project: Project) -> list[str]:
    """Name the versions under which answers were rated, the newest first."""
    used = set(ratings_given(project).order_by().values_list("guideline", flat=True).distinct())
    return [row.name for row in project.guidelines.order_by("-version").only("version") if row.name in used]
