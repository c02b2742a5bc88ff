"""What many records say of their answers, written at once: rankings, ratings, votes, verdicts, scores and overrides.

Nothing is derived here: a batch is labelled once it is ready (services.preferences_derive).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from django.db.models import Max

from apps.core.bulk import ids_reserve, rows_insert
from apps.labels.models import Judge, Override, PairFlag, Ranking, Rating, Score, Verdict, Vote
from apps.labels.selectors import judge_labels
from prefloop.judging.verdicts import ORDER_CODES
from prefloop.marks import marks_stored
from prefloop.records import PairIndex, Record, outcome_of, ranked_pairs, rated_pairs, time_of
from prefloop.records.form import Choice, RecordRating, VoteChoice
from prefloop.rubrics import rubric_stored
from prefloop.types import UNLABELLED, Outcome, PrefloopError

_WHOSE = ("comparison_id", "rater", "adjudication", "criterion")


class SpokenMeanwhile(PrefloopError):
    """Labels that an import was going to add were given by somebody else between reading and writing."""


_By = Literal["vote", "ranking", "ratings", "nothing"]


@dataclass(frozen=True, slots=True)
class _Head:
    """A person's last vote on a comparison. `by`: how it was said; a withdrawn vote says nothing."""

    id: int
    by: _By


@dataclass(slots=True)
class Annotations:
    """All that records say; what is there already of them is looked up first, in a new record nothing is."""

    records: Sequence[Record]
    prompts: Sequence[int]  # a record's prompt
    answers: Sequence[Sequence[int]]  # its completions, in the order of the record's answers
    pairs: Sequence[dict[PairIndex, int]]  # its comparisons
    judges: dict[str, Judge]
    rated: Sequence[Sequence[RecordRating]] = ()  # a record's earlier ratings by imports; empty if all records are new
    # by comparison, rater, whether it is an adjudication, and criterion
    heads: dict[tuple[int, str, bool, str], _Head] = field(default_factory=dict)
    verdict_keys: set[tuple[int, int, str, int]] = field(default_factory=set)  # judge, comparison, order, sample
    n_ranked: dict[tuple[int, int], int] = field(default_factory=dict)  # verdicts of rankings, by judge and comparison
    last_score: dict[tuple[int, int], int] = field(default_factory=dict)  # sample of it, by judge and answer

    def look_up(self) -> None:
        """Look up what is said of these prompts already. The caller has locked their comparisons."""
        there = {"comparison__prompt__in": self.prompts}
        votes = Vote.objects.filter(**there, superseded_by__isnull=True)
        for *whose, pk, choice, ranking, rating in votes.values_list(
            *_WHOSE, "id", "choice", "ranking_id", "ranking__rating_id"
        ):
            by: _By = "vote" if ranking is None else "ranking" if rating is None else "ratings"
            self.heads[whose[0], whose[1], whose[2], whose[3]] = _Head(pk, "nothing" if choice == "withdrawn" else by)
        verdicts = Verdict.objects.filter(**there)
        self.verdict_keys = set(verdicts.values_list("judge_id", "comparison_id", "order", "sample"))
        for judge, comparison, order, sample in self.verdict_keys:
            if not order:
                self.n_ranked[judge, comparison] = max(self.n_ranked.get((judge, comparison), 0), sample + 1)
        scores = Score.objects.filter(completion__prompt__in=self.prompts).order_by()
        for judge, answer, last in scores.values_list("judge_id", "completion_id").annotate(Max("sample")):
            self.last_score[judge, answer] = last

    def write(self) -> None:
        # rankings first: what is said of a pair itself stands over what follows from them
        self.rankings()
        self.ratings()
        self.votes()
        self.verdicts()
        self.scores()
        self.overrides()
        self.flags()

    def rankings(self) -> None:
        """Write rankings, and what each says of its pairs: votes of its rater, or verdicts of its judge."""
        said = [
            (prompt, ranking, answers, pairs)
            for prompt, record, answers, pairs in zip(self.prompts, self.records, self.answers, self.pairs, strict=True)
            for ranking in record.rankings
        ]
        ids = rows_insert(
            Ranking,
            ("prompt_id", "rater", "judge_id", "groups", "shown", "at", "seconds", "guideline", "reason", "reasons"),
            [
                (
                    prompt,
                    ranking.rater,
                    self.judges[ranking.judge].pk if ranking.judge else None,
                    [[answers[i] for i in group] for group in ranking.groups],
                    [answers[i] for i in ranking.shown],
                    time_of(ranking.at) if ranking.at else None,
                    ranking.seconds,
                    ranking.guideline,
                    ranking.reason,
                    list(ranking.reasons),
                )
                for prompt, ranking, answers, _ in said
            ],
        )
        votes: list[tuple[Any, ...]] = []
        verdicts = []
        for key, (_, ranking, _, pairs) in zip(ids, said, strict=True):
            for pair, outcome in ranked_pairs(ranking.groups):
                comparison = pairs[pair]
                if ranking.judge:
                    whose = (self.judges[ranking.judge].pk, comparison)
                    sample = self.n_ranked.get(whose, 0)
                    self.n_ranked[whose] = sample + 1
                    verdicts.append((*whose, "", sample, "ok", outcome))
                else:
                    at = time_of(ranking.at) if ranking.at else None
                    shown = _order_shown(ranking.shown, pair)
                    votes.append((comparison, ranking.rater, False, "", outcome, key, at, ranking.guideline, shown))
        rows_insert(Verdict, ("judge_id", "comparison_id", "order", "sample", "state", "outcome"), verdicts)
        spoken = self._spoken("vote") if votes else set()
        votes = [row for row in votes if row[:4] not in spoken]
        said_of_each = ("choice", "ranking_id", "at", "guideline", "order")
        self._votes_in_line((*_WHOSE, *said_of_each), votes, by="ranking")

    def ratings(self) -> None:
        """Write ratings, later ones of one person on an answer in place of earlier ones; and what follows from two of
        them: a ranking of the two answers, with a vote of the rater.
        """
        ids = self._ratings_insert()
        rows, said = [], []
        rated = self.rated or [()] * len(self.records)
        for prompt, record, answers, pairs, keys, known in zip(
            self.prompts, self.records, self.answers, self.pairs, ids, rated, strict=True
        ):
            for later, pair, outcome in rated_pairs(record, known):
                i, j = (answers[at] for at in pair)
                groups = [[i, j]] if outcome == "tie" else [[i], [j]] if outcome == "first" else [[j], [i]]
                rating = record.ratings[later]
                at = time_of(rating.at) if rating.at else None
                rows.append((prompt, rating.rater, groups, at, rating.guideline, keys[later]))
                said.append((pairs[pair], rating.rater, False, "", outcome, at, rating.guideline))
        made = rows_insert(Ranking, ("prompt_id", "rater", "groups", "at", "guideline", "rating_id"), rows)
        spoken = self._spoken("vote", "ranking") if said else set()
        votes = [(*row[:5], key, *row[5:]) for key, row in zip(made, said, strict=True) if row[:4] not in spoken]
        votes += self._compared_no_more({row[:4] for row in said})
        self._votes_in_line((*_WHOSE, "choice", "ranking_id", "at", "guideline"), votes, by="ratings")

    def _compared_no_more(self, compared: set[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Withdraw what follows from ratings that a new one replaces, where nothing follows from that: it is a skip, or
        by other items.
        """
        rows = []
        for record, pairs, known in zip(self.records, self.pairs, self.rated, strict=bool(self.rated)):
            new = {(one.rater, one.completion): one for one in record.ratings}
            for at, pair, _ in rated_pairs(replace(record, ratings=tuple(known))):
                whose = (pairs[pair], known[at].rater, False, "")
                replaced = [new[rater, i] for rater, i in ((whose[1], i) for i in pair) if (rater, i) in new]
                head = self.heads.get(whose)
                if replaced and whose not in compared and head is not None and head.by == "ratings":
                    when = time_of(replaced[0].at) if replaced[0].at else None
                    rows.append((*whose, "withdrawn", None, when, replaced[0].guideline))
        return rows

    def _ratings_insert(self) -> list[list[int]]:
        """Write the ratings themselves; returns their ids by record."""
        n = sum(len(record.ratings) for record in self.records)
        if not n:
            return [[] for _ in self.records]
        ids = iter(ids_reserve(Rating, n))
        wanted = {answers[one.completion] for record, answers in self._said_of() for one in record.ratings}
        standing = Rating.objects.filter(completion__in=wanted, superseded_by__isnull=True)
        heads = {(answer, rater): pk for answer, rater, pk in standing.values_list("completion_id", "rater", "pk")}
        rows, keys, found = [], [], []
        for record, answers in self._said_of():
            theirs = []
            for one in record.ratings:
                key, whose = next(ids), (answers[one.completion], one.rater)
                rubric, values = rubric_stored(one.rubric), dict(one.values)
                at = time_of(one.at) if one.at else None
                said = (one.choice, rubric, values, one.total, at, one.seconds, one.guideline, one.reason)
                rows.append((*whose, *said, heads.get(whose)))
                heads[whose] = key
                keys.append(key)
                theirs.append(key)
            found.append(theirs)
        names = ("choice", "rubric", "values", "total", "at", "seconds", "guideline", "reason", "supersedes_id")
        rows_insert(Rating, ("completion_id", "rater", *names), rows, ids=keys)
        return found

    def _said_of(self) -> list[tuple[Record, Sequence[int]]]:
        return list(zip(self.records, self.answers, strict=True))

    def _spoken(self, *by: _By) -> set[tuple[int, str, bool, str]]:
        """Whoever has said in one of these ways what they think of a pair, or votes on it itself."""
        spoken = {whose for whose, head in self.heads.items() if head.by in by}
        each = zip(self.records, self.pairs, strict=True)
        return spoken | {
            (pairs[vote.pair], vote.rater, vote.adjudication, vote.criterion)
            for record, pairs in each
            for vote in record.votes
        }

    def votes(self) -> None:
        """Later votes of one person on one comparison supersede earlier ones; ids stay in the record's order."""
        rows = [
            (
                pairs[vote.pair],
                vote.rater,
                vote.adjudication,
                vote.criterion,
                _vote_choice(vote.choice),
                _order(vote.order),
                time_of(vote.at) if vote.at else None,
                vote.seconds,
                vote.guideline,
                vote.reason,
                vote.strength or "",
                vote.by_chance,
                list(vote.reasons),
                vote.edit,
                marks_stored(replace(mark, answer=vote.pair.index(mark.answer)) for mark in vote.marks),
            )
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for vote in record.votes
        ]
        said = ("order", "at", "seconds", "guideline", "reason", "strength", "by_chance", "reasons", "by_edit", "marks")
        names = (*_WHOSE, "choice", *said)
        self._votes_in_line(names, rows, by="vote")

    def _votes_in_line(self, names: tuple[str, ...], rows: list[tuple[Any, ...]], *, by: _By) -> None:
        """Insert votes (with what `_WHOSE` names first), each in place of its rater's last."""
        ids = ids_reserve(Vote, len(rows)) if rows else []
        heads = self.heads
        made = []
        for key, row in zip(ids, rows, strict=True):
            whose = (row[0], row[1], row[2], row[3])
            before = heads.get(whose)
            made.append((*row, None if before is None else before.id))
            heads[whose] = _Head(key, by)
        rows_insert(Vote, (*names, "supersedes_id"), made, ids=ids)

    def verdicts(self) -> None:
        judges = {name: judge.pk for name, judge in self.judges.items()}
        rows = [
            (
                judges[said.judge],
                pairs[said.pair],
                _order(said.order),
                said.sample,
                said.state,
                _outcome(said.state, outcome_of(said.choice, p_first=said.p_first)),
                said.p_first,
                said.raw,
            )
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for said in record.verdicts
        ]
        if self.verdict_keys and not self.verdict_keys.isdisjoint(row[:4] for row in rows):
            raise SpokenMeanwhile(
                "a judge gave a verdict on one of these comparisons while the file was read; import it again"
            )
        names = ("judge_id", "comparison_id", "order", "sample", "state", "outcome", "p_first", "raw")
        rows_insert(Verdict, names, rows)

    def scores(self) -> None:
        rows = []
        for record, answers in zip(self.records, self.answers, strict=True):
            for said in record.scores:
                key = (self.judges[said.judge].pk, answers[said.completion])
                sample = self.last_score[key] = self.last_score.get(key, -1) + 1
                rows.append((*key, sample, said.state, said.value, said.flag))
        rows_insert(Score, ("judge_id", "completion_id", "sample", "state", "value", "flag"), rows)

    def overrides(self) -> None:
        """Whoever chose what the judge's label was at that moment agreed; the rest corrected it."""
        rows = [
            (said, pairs[said.pair])
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for said in record.overrides
        ]
        labels: dict[tuple[str, int], str] = {}
        for name in {said.judge for said, _ in rows if said.judge}:
            ids = sorted({comparison for said, comparison in rows if said.judge == name})
            found = judge_labels(comparison_ids=ids, judge=self.judges[name])
            labels |= {(name, key): label.outcome or label.state for key, label in found.items()}
        made = []
        for said, comparison in rows:
            before = labels.get((said.judge, comparison), "")
            choice = cast(str, outcome_of(said.choice))
            kind = "agree" if choice == before else "override"
            at = time_of(said.at) if said.at else None
            made.append((comparison, self.judges[said.judge].pk, said.rater, kind, choice, before, said.reason, at))
        names = ("comparison_id", "judge_id", "rater", "kind", "choice", "judge_outcome", "reason", "at")
        rows_insert(Override, names, made)

    def flags(self) -> None:
        rows = [
            (
                None if said.pair is None else pairs[said.pair],
                None if said.completion is None else answers[said.completion],
                said.rater,
                said.reason,
                said.note,
                time_of(said.at) if said.at else None,
                time_of(said.resolved) if said.resolved else None,
                said.resolved_by,
            )
            for record, answers, pairs in zip(self.records, self.answers, self.pairs, strict=True)
            for said in record.flags
        ]
        rows_insert(
            PairFlag,
            ("comparison_id", "completion_id", "rater", "reason", "note", "at", "resolved_at", "resolved_by"),
            rows,
        )


def _outcome(state: str, outcome: Outcome | None) -> str:
    return outcome or "" if state == "ok" else ""


def _vote_choice(choice: VoteChoice) -> str | None:
    return str(choice) if choice in UNLABELLED else outcome_of(cast(Choice, choice))


def _order_shown(shown: Sequence[int], pair: PairIndex) -> str:
    """Which of a pair a ranking's rater saw first; empty where that is not known."""
    if not shown:
        return ""
    return "01" if shown.index(pair[0]) < shown.index(pair[1]) else "10"


def _order(order: PairIndex | None) -> str:
    return "" if order is None else ORDER_CODES[order]
