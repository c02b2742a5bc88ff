"""How an on-policy run logs its answers and labels in `events.jsonl`, and how they are read again.

A step writes one `sample` line per prompt, `verdict` lines as they come, and one `label` line: the pairs as the loss
sees them. A verdict is logged before it is used, so a resumed run asks no judge twice; and another run can train on the
same token ids in the same or another order (tandem).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from prefloop.engine.step_losses import Answers
from prefloop.judging.by_scores import ScoredAnswer
from prefloop.judging.metering import Call
from prefloop.judging.opened import Places, ToJudge
from prefloop.judging.verdicts import ORDER_CODES, OrderedVerdict
from prefloop.recipes.events import Event, EventWriter, drop_superseded, read_events
from prefloop.recipes.recipe import Memory
from prefloop.seeds import shuffler_seed
from prefloop.types import Completion, Group, LabelledVerdict, Order, Pair, PrefloopError

Key = tuple[str, int, int, int, int, str]  # judge, step, row, i, j, order
S = TypeVar("S", LabelledVerdict, ScoredAnswer)


class UnusableStream(PrefloopError):
    """The log of another run can't be replayed."""


@dataclass(slots=True)
class StepRecord:
    """A logged step: its answers, and the labelled pairs by the prompt's index in the step."""

    answers: list[Answers] = field(default_factory=list)
    pairs: dict[int, list[Pair]] = field(default_factory=dict)


class StreamLog:
    """Writes a run's answers and what its judge says, and remembers what was paid for before.

    What a judge is asked about is known here as (step, answers); `judge` is the key of an ensemble's member.
    """

    def __init__(self, events: EventWriter, earlier: Iterable[Event]) -> None:
        self._events = events
        self._said: dict[Key, tuple[str, LabelledVerdict]] = {}
        self._scores: dict[tuple[str, str], dict[int, ScoredAnswer]] = defaultdict(dict)
        for event in earlier:
            data = event.data
            if event.type == "verdict":
                key = (data.get("judge", ""), data["step"], data["row"], *data["pair"], data["order"])
                self._said[key] = (data["answers"], _read(LabelledVerdict, data))
            elif event.type == "score":
                self._scores[data.get("judge", ""), data["answer"]][data["sample"]] = _read(ScoredAnswer, data)

    def answers(self, step: int, drawn: int, answers: Sequence[Answers]) -> None:
        for one in answers:
            self._events.write("sample", step=step, drawn=drawn, **_plain(one))

    def labels(self, step: int, pairs: dict[int, list[Pair]]) -> None:
        """Write the pairs that the step is trained on."""
        flat = [[row, pair.i, pair.j, pair.p] for row, mine in sorted(pairs.items()) for pair in mine]
        self._events.write("label", step=step, pairs=flat)

    def verdict(self, judge: str, one: ToJudge, pair: Places, order: Order) -> LabelledVerdict | None:
        """Return what the judge said of these very answers before."""
        step, asked = one.of
        found = self._said.get((judge, step, asked.row, *pair, ORDER_CODES[order]))
        return found[1] if found is not None and found[0] == _content(asked, *pair) else None

    def scores(self, judge: str, one: ToJudge, place: int) -> Mapping[int, ScoredAnswer]:
        """Return what the judge gave this answer before, by sample."""
        return self._scores.get((judge, _score_key(one, place)), {})

    def keep_verdict(self, judge: str, one: ToJudge, pair: Places, said: OrderedVerdict, **more: Any) -> None:
        """Write a verdict; it stands in the log when this returns."""
        step, asked = one.of
        order, content = ORDER_CODES[said.order], _content(asked, *pair)
        self._said[judge, step, asked.row, *pair, order] = (content, said.verdict)
        self._events.write(
            "verdict",
            step=step,
            row=asked.row,
            prompt_id=asked.prompt_id,
            pair=list(pair),
            order=order,
            answers=content,
            **asdict(said.verdict),
            **_told(judge, more),
        )

    def keep_score(self, judge: str, one: ToJudge, place: int, sample: int, said: ScoredAnswer, **more: Any) -> None:
        """Write a grade; it stands in the log when this returns."""
        step, asked = one.of
        key = _score_key(one, place)
        self._scores[judge, key][sample] = said
        self._events.write(
            "score",
            step=step,
            row=asked.row,
            place=place,
            sample=sample,
            answer=key,
            **asdict(said),
            **_told(judge, more),
        )

    def keep_calls(self, judge: str, calls: Sequence[Call]) -> None:
        """Write calls that brought nothing."""
        if calls:
            self._events.write("calls", **_told(judge, {"calls": calls}))


def _told(judge: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says besides; nothing of what is usual."""
    plain = {"judge": judge, **more}
    plain["calls"] = [[list(astuple(held)), usage] for held, usage in more.get("calls", ())]
    return {name: value for name, value in plain.items() if value not in ("", False, None, [])}


def _read(cls: type[S], data: Mapping[str, Any]) -> S:
    values = {item.name: data[item.name] for item in fields(cls)}
    return cls(**values | {"flags": tuple(values["flags"])})


def _score_key(one: ToJudge, place: int) -> str:
    step, asked = one.of
    return f"{step}:{asked.row}:{place}:{_content(asked, place)}"


def read_records(paths: Sequence[Path]) -> list[StepRecord]:
    """Read the logged steps of a run from these files, in order. Raises UnusableStream."""
    records = []
    for path in paths:
        if not path.exists():
            raise UnusableStream(f"there is no log of the run to replay at {path.name}")
        records += [record for _, record in sorted(records_of(drop_superseded(read_events(path)[0])).items())]
    if not any(record.pairs for record in records):
        raise UnusableStream("the run to replay logged no labelled pairs")
    return records


def records_of(events: Iterable[Event]) -> dict[int, StepRecord]:
    """Collect the steps of a log, by number."""
    found: dict[int, StepRecord] = {}
    for event in events:
        if event.type == "sample":
            found.setdefault(event.data["step"], StepRecord()).answers.append(_answers(event.data))
        elif event.type == "label":
            record = found.setdefault(event.data["step"], StepRecord())
            for row, i, j, p in event.data["pairs"]:
                record.pairs.setdefault(row, []).append(Pair(i, j, p))
    return found


def replayed(records: Sequence[StepRecord], memory: Memory, *, seed: int) -> list[StepRecord]:
    """Put logged steps in the order of `memory.order`.

    logged: unchanged, batch by batch. Otherwise the labelled prompts are shuffled, all of them (uniform) or within
    windows of so many batches, and dealt into batches of the original sizes.
    """
    if memory.order == "logged":
        return list(records)
    window = memory.window or len(records)
    out: list[StepRecord] = []
    for start in range(0, len(records), window):
        part = records[start : start + window]
        rows = [(one, record.pairs[one.row]) for record in part for one in record.answers if record.pairs.get(one.row)]
        sizes = [sum(1 for one in record.answers if record.pairs.get(one.row)) for record in part]
        random.Random(shuffler_seed(seed, "replay", start)).shuffle(rows)
        for size in sizes:
            mine, rows = rows[:size], rows[size:]
            record = StepRecord()
            for place, (one, pairs) in enumerate(mine):
                record.answers.append(Answers(place, one.prompt_id, one.prompt, one.prompt_ids, one.group))
                record.pairs[place] = pairs
            out.append(record)
    return out


def _content(one: Answers, *places: int) -> str:
    ids = [list(one.group.completions[at].ids) for at in places]
    text = json.dumps([one.prompt_id, *ids], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(one: Answers) -> dict[str, Any]:
    scores = one.group.scores or [None] * len(one.group.completions)
    return {
        "row": one.row,
        "prompt_id": one.prompt_id,
        "prompt": one.prompt,
        "prompt_ids": list(one.prompt_ids),
        "answers": [
            {
                "source": answer.source,
                "ids": list(answer.ids),
                "text": answer.text,
                "logp_sum": answer.logp_sum,
                "seed": answer.seed,
                "finished": answer.finished,
                "score": score,
            }
            for answer, score in zip(one.group.completions, scores, strict=True)
        ],
    }


def _answers(data: dict[str, Any]) -> Answers:
    completions = tuple(
        Completion(
            text=said["text"],
            ids=tuple(said["ids"]),
            logp_sum=said["logp_sum"],
            source=said["source"],
            seed=said["seed"],
            finished=said["finished"],
        )
        for said in data["answers"]
    )
    scores = [said["score"] for said in data["answers"]]
    known = None if any(score is None for score in scores) else tuple(scores)
    group = Group(data["prompt_id"], completions, known)
    return Answers(data["row"], data["prompt_id"], data["prompt"], tuple(data["prompt_ids"]), group)
