"""A batch of checked records into rows: prompts, answers, comparisons, and all that was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from apps.core.bulk import rows_insert
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
    now: datetime,
) -> None:
    """Write new records, in order. The caller opens the transaction and knows that no id is there yet."""
    records = [item.record for item in located]
    prompts = [_prompt(item, project=project, batch=batch, prompt_set=prompt_set) for item in located]
    rows_insert(prompts)
    spellings = [
        RecordSpelling(prompt=prompt, kept=kept)
        for prompt, record in zip(prompts, records, strict=True)
        if (kept := spelling_of(record))
    ]
    rows_insert(spellings)
    made = _Batch(project=project, batch=batch, records=records, prompts=prompts, judges=judges, now=now)
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


def _prompt(item: Located, *, project: Project, batch: ImportBatch, prompt_set: PromptSet) -> Prompt:
    record = item.record
    return Prompt(
        project=project,
        prompt_set=prompt_set,
        batch=batch,
        external_id=record.id,
        text=text_of(record.prompt),
        messages=None if isinstance(record.prompt, str) else list(record.prompt),
        split=record.split or "train",
        metadata=record.metadata,
        record_sha256=item.sha256,
    )


@dataclass(slots=True)
class _Batch:
    project: Project
    batch: ImportBatch
    records: list[Record]
    prompts: list[Prompt]
    judges: dict[str, Judge]
    now: datetime
    answers: list[list[Completion]] = field(default_factory=list)  # made by completions_and_comparisons, as pairs are
    pairs: list[dict[PairIndex, Comparison]] = field(default_factory=list)

    def completions_and_comparisons(self) -> None:
        project, batch = self.project.pk, self.batch.pk  # ids: setting an object costs more than the row
        answers = [
            [
                Completion(
                    project_id=project,
                    prompt_id=prompt.pk,
                    batch_id=batch,
                    index=i,
                    text=completion.text,
                    model_name=completion.model,
                    metadata=completion.metadata,
                )
                for i, completion in enumerate(record.completions)
            ]
            for prompt, record in zip(self.prompts, self.records, strict=True)
        ]
        # In the order of their indices, so that ids are too: the canonical order of a pair rests on it.
        rows_insert([row for rows in answers for row in rows])
        self.answers = answers
        for prompt, record, rows in zip(self.prompts, self.records, answers, strict=True):
            gold = {item.pair: cast(str, outcome_of(item.choice)) for item in record.gold}
            self.pairs.append(
                {
                    (i, j): Comparison(
                        project_id=project,
                        prompt_id=prompt.pk,
                        batch_id=batch,
                        first_id=rows[i].pk,
                        second_id=rows[j].pk,
                        origin="import",
                        gold=gold.get((i, j), ""),
                        held_out=(i, j) in gold or record.split == "eval",
                    )
                    for i, j in comparisons_of(record)
                }
            )
        rows_insert([row for rows in self.pairs for row in rows.values()])

    def votes(self) -> None:
        """Later votes of one person on one comparison supersede earlier ones; ids stay in the record's order."""
        waiting: list[Vote] = []
        last: dict[tuple[int, str], Vote] = {}
        for record, pairs in zip(self.records, self.pairs, strict=True):
            for said in record.votes:
                comparison = pairs[said.pair]
                key = (comparison.pk, said.rater)
                before = last.get(key)
                if before is not None and before._state.adding:  # a row needs its id before another can point at it
                    rows_insert(waiting)
                    waiting = []
                last[key] = Vote(
                    comparison=comparison,
                    rater=said.rater,
                    choice="skip" if said.choice == "skip" else cast(str, outcome_of(said.choice)),
                    order=_ORDER[said.order],
                    at=time_of(said.at) if said.at else None,
                    seconds=said.seconds,
                    guideline=said.guideline,
                    reason=said.reason,
                    supersedes=before,
                )
                waiting.append(last[key])
        rows_insert(waiting)

    def verdicts_and_scores(self) -> None:
        judges = {name: judge.pk for name, judge in self.judges.items()}
        verdicts = [
            Verdict(
                judge_id=judges[said.judge],
                comparison_id=pairs[said.pair].pk,
                order=_ORDER[said.order],
                sample=said.sample,
                state=said.state,
                outcome=_outcome(said.state, outcome_of(said.choice, p_first=said.p_first)),
                p_first=said.p_first,
                raw=said.raw,
            )
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for said in record.verdicts
        ]
        rows_insert(verdicts)
        scores: list[Score] = []
        for record, answers in zip(self.records, self.answers, strict=True):
            seen: dict[tuple[str, int], int] = {}
            for said in record.scores:
                key = (said.judge, said.completion)
                seen[key] = seen.get(key, -1) + 1
                scores.append(
                    Score(
                        judge_id=judges[said.judge],
                        completion_id=answers[said.completion].pk,
                        sample=seen[key],
                        state=said.state,
                        value=said.value,
                    )
                )
        rows_insert(scores)

    def overrides(self) -> None:
        """Whoever chose what the judge's label was at that moment agreed; the rest corrected it."""
        rows = [
            (said, pairs[said.pair])
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for said in record.overrides
        ]
        labels: dict[tuple[str, int], str] = {}
        for name in {said.judge for said, _ in rows if said.judge}:
            ids = sorted({comparison.pk for said, comparison in rows if said.judge == name})
            found = judge_labels(comparison_ids=ids, judge=self.judges[name])
            labels |= {(name, key): label.outcome or label.state for key, label in found.items()}
        made = []
        for said, comparison in rows:
            before = labels.get((said.judge, comparison.pk), "")
            choice = cast(str, outcome_of(said.choice))
            made.append(
                Override(
                    comparison=comparison,
                    judge=self.judges[said.judge],
                    rater=said.rater,
                    kind="agree" if choice == before else "override",
                    choice=choice,
                    judge_outcome=before,
                    reason=said.reason,
                    at=time_of(said.at) if said.at else None,
                )
            )
        rows_insert(made)

    def rankings(self) -> None:
        made = [
            Ranking(
                prompt=prompt,
                rater=said.rater,
                judge=self.judges[said.judge] if said.judge else None,
                groups=[[answers[i].pk for i in group] for group in said.groups],
            )
            for prompt, record, answers in zip(self.prompts, self.records, self.answers, strict=True)
            for said in record.rankings
        ]
        rows_insert(made)


def _outcome(state: str, outcome: Outcome | None) -> str:
    return outcome or "" if state == "ok" else ""
