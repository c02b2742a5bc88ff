"""What many records say of their answers, written at once: rankings, votes, verdicts, scores and overrides.

Nothing is derived here: a batch is labelled once it is ready (services.preferences_derive).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from django.db.models import Max

from apps.core.bulk import ids_reserve, rows_insert
from apps.labels.models import Judge, Override, PairFlag, Ranking, Score, Verdict, Vote
from apps.labels.selectors import judge_labels
from prefloop.judging.verdicts import ORDER_CODES
from prefloop.records import PairIndex, Record, outcome_of, ranked_pairs, time_of
from prefloop.records.form import Choice, VoteChoice
from prefloop.types import UNLABELLED, Outcome, PrefloopError


class SpokenMeanwhile(PrefloopError):
    """Labels that an import was going to add were given by somebody else between reading and writing."""


@dataclass(frozen=True, slots=True)
class _Head:
    """A person's last vote on a comparison. `spoken`: given directly, and neither by a ranking nor withdrawn."""

    id: int
    spoken: bool


@dataclass(slots=True)
class Annotations:
    """All that records say; what is there already of them is looked up first, in a new record nothing is."""

    records: Sequence[Record]
    prompts: Sequence[int]  # a record's prompt
    answers: Sequence[Sequence[int]]  # its completions, in the order of the record's answers
    pairs: Sequence[dict[PairIndex, int]]  # its comparisons
    judges: dict[str, Judge]
    # by comparison, rater, and whether it is an adjudication
    heads: dict[tuple[int, str, bool], _Head] = field(default_factory=dict)
    verdict_keys: set[tuple[int, int, str, int]] = field(default_factory=set)  # judge, comparison, order, sample
    n_ranked: dict[tuple[int, int], int] = field(default_factory=dict)  # verdicts of rankings, by judge and comparison
    last_score: dict[tuple[int, int], int] = field(default_factory=dict)  # sample of it, by judge and answer

    def look_up(self) -> None:
        """Look up what is said of these prompts already. The caller has locked their comparisons."""
        there = {"comparison__prompt__in": self.prompts}
        votes = Vote.objects.filter(**there, superseded_by__isnull=True)
        given = votes.filter(ranking__isnull=True).exclude(choice="withdrawn")
        spoken = set(given.values_list("id", flat=True))
        for comparison, rater, adjudicates, pk in votes.values_list("comparison_id", "rater", "adjudication", "id"):
            self.heads[comparison, rater, adjudicates] = _Head(pk, pk in spoken)
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
            ("prompt_id", "rater", "judge_id", "groups"),
            [
                (
                    prompt,
                    ranking.rater,
                    self.judges[ranking.judge].pk if ranking.judge else None,
                    [[answers[i] for i in group] for group in ranking.groups],
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
                    votes.append((comparison, ranking.rater, False, outcome, key))
        rows_insert(Verdict, ("judge_id", "comparison_id", "order", "sample", "state", "outcome"), verdicts)
        # who has voted on a pair itself has said what they think of it
        spoken = {whose for whose, head in self.heads.items() if head.spoken}
        if votes:
            each = zip(self.records, self.pairs, strict=True)
            spoken |= {
                (pairs[vote.pair], vote.rater, vote.adjudication) for record, pairs in each for vote in record.votes
            }
        votes = [row for row in votes if row[:3] not in spoken]
        self._votes_in_line(("comparison_id", "rater", "adjudication", "choice", "ranking_id"), votes, spoken=False)

    def votes(self) -> None:
        """Later votes of one person on one comparison supersede earlier ones; ids stay in the record's order."""
        rows = [
            (
                pairs[vote.pair],
                vote.rater,
                vote.adjudication,
                _vote_choice(vote.choice),
                _order(vote.order),
                time_of(vote.at) if vote.at else None,
                vote.seconds,
                vote.guideline,
                vote.reason,
                vote.strength or "",
            )
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for vote in record.votes
        ]
        said = ("order", "at", "seconds", "guideline", "reason", "strength")
        names = ("comparison_id", "rater", "adjudication", "choice", *said)
        self._votes_in_line(names, rows, spoken=True)

    def _votes_in_line(self, names: tuple[str, ...], rows: list[tuple[Any, ...]], *, spoken: bool) -> None:
        """Insert votes (comparison, rater and adjudication first), each in place of its rater's last."""
        ids = ids_reserve(Vote, len(rows)) if rows else []
        heads = self.heads
        made = []
        for key, row in zip(ids, rows, strict=True):
            whose = (row[0], row[1], row[2])
            before = heads.get(whose)
            made.append((*row, None if before is None else before.id))
            heads[whose] = _Head(key, spoken)
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
                pairs[said.pair],
                said.rater,
                said.reason,
                said.note,
                time_of(said.at) if said.at else None,
                time_of(said.resolved) if said.resolved else None,
                said.resolved_by,
            )
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for said in record.flags
        ]
        rows_insert(PairFlag, ("comparison_id", "rater", "reason", "note", "at", "resolved_at", "resolved_by"), rows)


def _outcome(state: str, outcome: Outcome | None) -> str:
    return outcome or "" if state == "ok" else ""


def _vote_choice(choice: VoteChoice) -> str | None:
    return str(choice) if choice in UNLABELLED else outcome_of(cast(Choice, choice))


def _order(order: PairIndex | None) -> str:
    return "" if order is None else ORDER_CODES[order]
