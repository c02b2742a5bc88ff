"""A batch of checked records into rows: prompts, answers, comparisons, and all that was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from apps.core.bulk import ids_reserve, rows_insert
from apps.exchange.models import RecordSpelling
from apps.exchange.reading import Located, time_of, written_time
from apps.judging.models import Judge, Score, Verdict
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, PromptSet
from apps.rankings.models import Override, Ranking, Vote
from apps.rankings.preferences import judge_labels
from apps.samples.models import Comparison, Completion
from prefloop.records import PairIndex, Record, comparisons_of, outcome_of
from prefloop.types import Outcome

UNNAMED_JUDGE = "(judge not named)"  # an override in a record need not say whose label it corrects
_ORDER = {(0, 1): "01", (1, 0): "10", None: ""}


def write_batch(
    located: Sequence[Located],
    *,
    project: Project,
    batch: ImportBatch,
    prompt_set: PromptSet,
    judges: dict[str, Judge],
) -> None:
    """Write new records, in order. The caller opens the transaction and knows that no id is there yet."""
    records = [item.record for item in located]
    owners = {"project_id": project.pk, "prompt_set_id": prompt_set.pk, "batch_id": batch.pk}
    prompts = rows_insert(
        Prompt,
        (*owners, "external_id", "text", "messages", "split", "metadata", "record_sha256"),
        [(*owners.values(), *_prompt(item)) for item in located],
    )
    spelled = [(prompt, kept) for prompt, record in zip(prompts, records, strict=True) if (kept := spelling_of(record))]
    rows_insert(RecordSpelling, ("prompt_id", "kept"), spelled)
    made = _Batch(project=project.pk, batch=batch.pk, records=records, prompts=prompts, judges=judges)
    made.completions_and_comparisons()
    made.votes()
    made.verdicts_and_scores()
    made.overrides()
    made.rankings()


def text_of(prompt: str | Sequence[dict[str, Any]]) -> str:
    """Write a conversation as text for people: one user's message as it is, more turns each under its role."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{str(turn['role']).capitalize()}: {turn['content']}" for turn in prompt)


def spelling_of(record: Record) -> dict[str, Any]:
    """Keep what the columns can't say of a record; empty for most."""
    kept: dict[str, Any] = {}
    if record.split == "train":
        kept["split"] = "train"
    for name, times in (("votes", [v.at for v in record.votes]), ("overrides", [o.at for o in record.overrides])):
        spelled = {str(i): at for i, at in enumerate(times) if at and written_time(time_of(at)) != at}
        if spelled:
            kept[name] = spelled
    soft = [i for i, verdict in enumerate(record.verdicts) if verdict.choice is None and verdict.state == "ok"]
    if soft:
        kept["verdicts"] = soft
    return kept


def _prompt(item: Located) -> tuple[Any, ...]:
    record = item.record
    messages = None if isinstance(record.prompt, str) else list(record.prompt)
    return (record.id, text_of(record.prompt), messages, record.split or "train", record.metadata, item.sha256)


@dataclass(slots=True)
class _Batch:
    project: int
    batch: int
    records: list[Record]
    prompts: list[int]
    judges: dict[str, Judge]
    answers: list[list[int]] = field(default_factory=list)  # ids, made by completions_and_comparisons, as pairs are
    pairs: list[dict[PairIndex, int]] = field(default_factory=list)

    def completions_and_comparisons(self) -> None:
        project, batch = self.project, self.batch
        # In the order of their indices, so that ids are too: the canonical order of a pair rests on it.
        answers = iter(
            rows_insert(
                Completion,
                ("project_id", "prompt_id", "batch_id", "index", "text", "model_name", "metadata"),
                [
                    (project, prompt, batch, i, said.text, said.model, said.metadata)
                    for prompt, record in zip(self.prompts, self.records, strict=True)
                    for i, said in enumerate(record.completions)
                ],
            )
        )
        self.answers = [list(islice(answers, len(record.completions))) for record in self.records]
        pairs = [comparisons_of(record) for record in self.records]
        rows = []
        for prompt, record, ids, named in zip(self.prompts, self.records, self.answers, pairs, strict=True):
            gold = {item.pair: cast(str, outcome_of(item.choice)) for item in record.gold}
            for pair in named:
                held_out = pair in gold or record.split == "eval"
                rows.append(
                    (project, prompt, batch, ids[pair[0]], ids[pair[1]], "import", gold.get(pair, ""), held_out)
                )
        names = ("project_id", "prompt_id", "batch_id", "first_id", "second_id", "origin", "gold", "held_out")
        made = iter(rows_insert(Comparison, names, rows))
        self.pairs = [dict(zip(named, islice(made, len(named)), strict=True)) for named in pairs]

    def votes(self) -> None:
        """Later votes of one person on one comparison supersede earlier ones; ids stay in the record's order."""
        said = [
            (pairs[v.pair], v) for record, pairs in zip(self.records, self.pairs, strict=True) for v in record.votes
        ]
        ids = ids_reserve(Vote, len(said))
        last: dict[tuple[int, str], int] = {}
        rows = []
        for key, (comparison, vote) in zip(ids, said, strict=True):
            whose = (comparison, vote.rater)
            rows.append(
                (
                    comparison,
                    vote.rater,
                    "skip" if vote.choice == "skip" else outcome_of(vote.choice),
                    _ORDER[vote.order],
                    time_of(vote.at) if vote.at else None,
                    vote.seconds,
                    vote.guideline,
                    vote.reason,
                    last.get(whose),
                )
            )
            last[whose] = key
        names = ("comparison_id", "rater", "choice", "order", "at", "seconds", "guideline", "reason", "supersedes_id")
        rows_insert(Vote, names, rows, ids=ids)

    def verdicts_and_scores(self) -> None:
        judges = {name: judge.pk for name, judge in self.judges.items()}
        verdicts = [
            (
                judges[said.judge],
                pairs[said.pair],
                _ORDER[said.order],
                said.sample,
                said.state,
                _outcome(said.state, outcome_of(said.choice, p_first=said.p_first)),
                said.p_first,
                said.raw,
            )
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for said in record.verdicts
        ]
        names = ("judge_id", "comparison_id", "order", "sample", "state", "outcome", "p_first", "raw")
        rows_insert(Verdict, names, verdicts)
        scores = []
        for record, answers in zip(self.records, self.answers, strict=True):
            seen: dict[tuple[str, int], int] = {}
            for said in record.scores:
                key = (said.judge, said.completion)
                seen[key] = seen.get(key, -1) + 1
                scores.append((judges[said.judge], answers[said.completion], seen[key], said.state, said.value))
        rows_insert(Score, ("judge_id", "completion_id", "sample", "state", "value"), scores)

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

    def rankings(self) -> None:
        made = [
            (
                prompt,
                said.rater,
                self.judges[said.judge].pk if said.judge else None,
                [[answers[i] for i in group] for group in said.groups],
            )
            for prompt, record, answers in zip(self.prompts, self.records, self.answers, strict=True)
            for said in record.rankings
        ]
        rows_insert(Ranking, ("prompt_id", "rater", "judge_id", "groups"), made)


def _outcome(state: str, outcome: Outcome | None) -> str:
    return outcome or "" if state == "ok" else ""
