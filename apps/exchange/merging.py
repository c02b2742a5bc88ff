"""Records that the project already has: finding the new labels in a file.

An id stands for one question with its answers. A record with the same id, question and answers may come again with more
labels, as in a later export of a tool; new labels are added, known ones skipped. Another question, other answers,
metadata, split or gold under the same id are refused, and so is a verdict that contradicts the one it would replace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django.db.models import Max

from apps.core.chunks import chunks
from apps.exchange.stored import records_of
from apps.labels.models import Judge
from apps.labels.selectors import judge_names
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.samples.models import Completion
from prefloop.records import Gold, InvalidRecord, Record, RecordVerdict, outcome_of, time_of

_CHUNK = 200
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Addition:
    """A record's new labels: the whole record without the annotations that the project has."""

    prompt: int
    record: Record
    sha256: str  # of the whole record

    @property
    def is_empty(self) -> bool:
        said = self.record
        people = said.votes or said.rankings or said.ratings
        return not (people or said.verdicts or said.overrides or said.scores or said.flags)


def additions(project: Project, records: Sequence[tuple[Record, str]]) -> list[Addition | InvalidRecord]:
    """Compare records (each with its hash) with those that the project has; returns the reason if one is refused."""
    names = judge_names(project)
    newest = _newest(project, names)
    out: list[Addition | InvalidRecord] = []
    for some in chunks(records, _CHUNK):
        ids = [record.id for record, _ in some]
        prompts = dict(Prompt.objects.filter(project=project, external_id__in=ids).values_list("external_id", "pk"))
        before = {record.id: record for record in records_of(list(prompts.values()), names, taken_back=True)}
        imported = Completion.objects.filter(prompt__in=prompts.values(), run__isnull=True, parent__isnull=True)
        n_own = Counter(imported.values_list("prompt__external_id", flat=True))
        for record, sha256 in some:
            try:
                added = _added(before[record.id], record, n_own[record.id], newest)
            except InvalidRecord as error:
                out.append(error)
                continue
            out.append(Addition(prompts[record.id], added, sha256))
    return out


def _newest(project: Project, names: dict[int, str]) -> dict[str, str]:
    """Return the name of the newest version of a judge that an import of this name refers to."""
    judges = Judge.objects.filter(project=project)
    latest = {row["name"]: row["version"] for row in judges.values("name").annotate(version=Max("version"))}
    rows = judges.values_list("pk", "name", "version")
    return {name: names[pk] for pk, name, version in rows if latest[name] == version}


def _added(before: Record, now: Record, n_own: int, newest: dict[str, str]) -> Record:
    """Return what `now` has and `before` has not. `n_own`: answers of `before` that were not sampled later."""
    answers = before.completions[: len(now.completions)]
    for what, same in (
        ("question", before.prompt == now.prompt),
        ("answers", answers == now.completions and len(answers) >= n_own),
        ("metadata", before.metadata == now.metadata),
        ("split", (before.split or "train") == (now.split or "train")),
        ("gold", _same_gold(before.gold, now.gold)),
        ("gold rating", set(before.gold_ratings) == set(now.gold_ratings)),
    ):
        if not same:
            verb = "are" if what == "answers" else "is"
            reason = f"its {what} {verb} not what the project has"
            raise InvalidRecord(f"id {now.id!r} is in the project already, with other content: {reason}")
    return replace(
        now,
        gold=(),
        gold_ratings=(),
        votes=_new(before.votes, now.votes, lambda vote: (replace(vote, at="", by_chance=None), _moment(vote.at))),
        rankings=_new(before.rankings, now.rankings, lambda ranking: ranking),
        ratings=_new(before.ratings, now.ratings, lambda rating: rating),
        verdicts=_new_verdicts(before.verdicts, now, newest),
        overrides=_new(before.overrides, now.overrides, lambda one: (replace(one, at=""), _moment(one.at))),
        # a file of before there were flags has the same scores without the mark
        scores=_new(before.scores, now.scores, lambda score: replace(score, flag=False)),
        # one that was resolved here since is the same flag
        flags=_new(before.flags, now.flags, lambda flag: replace(flag, resolved="", resolved_by="")),
    )


def _same_gold(before: Iterable[Gold], now: Iterable[Gold]) -> bool:
    """Say whether the same is known of the same pairs; a file of before there were notes says nothing of why."""
    ours, theirs = ({one.pair: one for one in gold} for gold in (before, now))
    return ours.keys() == theirs.keys() and all(
        one == ours[pair] if one.note or one.practice else one.choice == ours[pair].choice
        for pair, one in theirs.items()
    )


def _new(before: Iterable[_Row], now: Iterable[_Row], key: Callable[[_Row], Any]) -> tuple[_Row, ...]:
    """Return the rows of `now` that are not in `before`, counting repetitions."""
    known = Counter(map(key, before))
    rows = []
    for row in now:
        known[key(row)] -= 1
        if known[key(row)] < 0:
            rows.append(row)
    return tuple(rows)


def _new_verdicts(before: Iterable[RecordVerdict], now: Record, newest: dict[str, str]) -> tuple[RecordVerdict, ...]:
    known = {(v.judge, v.pair, v.order, v.sample): _content(v) for v in before}
    rows = []
    for at, verdict in enumerate(now.verdicts):
        place = (verdict.pair, verdict.order, verdict.sample)
        if known.get((verdict.judge, *place)) == _content(verdict):
            continue
        if (newest.get(verdict.judge, verdict.judge), *place) in known:
            raise InvalidRecord(
                f"verdicts[{at}] contradicts what judge {verdict.judge!r} said of answers {list(verdict.pair)} in the "
                "project already (another verdict on them needs the next sample number)"
            )
        rows.append(verdict)
    return tuple(rows)


def _content(verdict: RecordVerdict) -> tuple[Any, ...]:
    outcome = outcome_of(verdict.choice, p_first=verdict.p_first) if verdict.state == "ok" else None
    return (verdict.state, outcome, verdict.p_first, verdict.raw)


def _moment(at: str) -> Any:
    return time_of(at) if at else None
