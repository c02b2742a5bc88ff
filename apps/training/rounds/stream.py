"""Storing an on-policy run's answers and verdicts in the database while it runs, and sending people's corrections back.

Every row has a key of its own (run, prompt, step and place; judge, comparison and order), so that rows read twice are
written once. If a run that was resumed on another machine gives different answers, the earlier answers are moved aside
and keep their verdicts and overrides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from apps.core.chunks import chunks
from apps.judging.specs import asked_with
from apps.labels.models import Judge, Override, Verdict
from apps.labels.selectors import label_judge, labels_of
from apps.labels.services import NewVerdict, verdicts_add
from apps.labels.types import Label
from apps.policies.store import store_path
from apps.prompts.models import Prompt
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.samples.services import GAMES_ORIGIN, comparisons_create
from apps.training.changes import recipe_of
from apps.training.models import Loop, SnapshotItem, TrainingRun
from apps.training.rounds.labels import round_origin, trainable
from apps.training.rounds.loop_judge import criterion_of
from apps.training.rounds.material import start_of
from apps.training.rounds.stepwise import replayed_runs
from apps.training.sets.overrides import overrides_before
from apps.training.sets.runs import events_path
from apps.training.sets.snapshots import LabelledComparison, snapshot_create
from prefloop.preference import P_OF_OUTCOME
from prefloop.recipes.events import Event, drop_superseded, read_events, read_inbox, write_inbox
from prefloop.recipes.runspec import INBOX_FILE
from prefloop.types import LabelledVerdict

ASIDE = 1_000_000  # added to the index of an answer that another one has superseded
MOST_SHOWN = 4  # of more answers to a prompt only the policy's own are kept: the others measure, nobody reads them
Key = tuple[str, int]  # the prompt's external id, the answer's index


def stream_ingest(*, run: TrainingRun, events: Sequence[Event]) -> None:
    """Store answers and verdicts, in the caller's transaction."""
    sampling = run.round.sampling_run if run.round else None
    if sampling is None:
        return
    samples = [event.data for event in events if event.type == "sample"]
    verdicts = [event.data for event in events if event.type == "verdict" and not event.data.get("game")]
    if samples:
        _answers(run, sampling, samples)
        verdicts += _games(run, {data["step"] for data in samples})
    if verdicts:
        _verdicts(run, sampling, verdicts)


def _answers(run: TrainingRun, sampling: SamplingRun, samples: Sequence[dict[str, Any]]) -> None:
    prompts = _prompts(run, samples)
    rows: dict[Key, Completion] = {}
    for data in samples:
        answers = data["answers"]
        for place, said in enumerate(answers):
            if len(answers) > MOST_SHOWN and said["source"] != "current":
                continue
            index = _index(sampling, data["step"], place)
            rows[(data["prompt_id"], index)] = Completion(
                project_id=run.project_id,
                prompt=prompts[data["prompt_id"]],
                run=sampling,
                index=index,
                text=said["text"],
                token_ids=said["ids"],
                logp_sum=said["logp_sum"],
                seed=said["seed"],
                finished=said["finished"],
                model_name=_author(run, said["source"]),
                metadata={"step": data["step"], "source": said["source"]}
                | ({} if said["score"] is None else {"score": said["score"]}),
            )
    _step_aside(sampling, rows)
    Completion.objects.bulk_create(rows.values(), ignore_conflicts=True, batch_size=200)


def _games(run: TrainingRun, steps: set[int]) -> list[dict[str, Any]]:
    """Give what the judge said in the tournaments that scored these steps' answers, before the answers were told."""
    judge = _loop(run).judge
    if judge is None or judge.gives_scores:
        return []
    events = drop_superseded(read_events(events_path(run))[0])
    return [e.data for e in events if e.type == "verdict" and e.data.get("game") and e.data["step"] in steps]


def _step_aside(sampling: SamplingRun, rows: dict[Key, Completion]) -> None:
    """Move stored answers aside if a different answer comes now. Identical answers are left alone."""
    for part in chunks(sorted({index for _, index in rows}), 500):
        there = Completion.objects.filter(run=sampling, index__in=part).select_related("prompt")
        for old in there:
            new = rows.get((old.prompt.external_id, old.index))
            if new is not None and old.token_ids != list(new.token_ids):
                aside = old.index + ASIDE
                while Completion.objects.filter(run=sampling, prompt=old.prompt, index=aside).exists():
                    aside += ASIDE
                Completion.objects.filter(pk=old.pk).update(index=aside, metadata={**old.metadata, "superseded": True})


def _verdicts(run: TrainingRun, sampling: SamplingRun, verdicts: Sequence[dict[str, Any]]) -> None:
    loop, round_ = _loop(run), run.round
    if loop.judge is None or round_ is None:
        return
    keys = {(data["prompt_id"], _index(sampling, data["step"], place)) for data in verdicts for place in data["pair"]}
    answers = _completions(sampling, keys)
    judges = {"": loop.judge, **asked_with(loop.judge)}
    by_origin: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for data in verdicts:
        if all(key in answers for key in _pair(sampling, data)):
            game = f"{GAMES_ORIGIN}{sampling.pk}"  # of a tournament: it scores, and labels nothing
            by_origin[game if data.get("game") else round_origin(loop, round_.index)].append(data)
    for origin, those in by_origin.items():
        wanted = {pair: (answers[pair[0]], answers[pair[1]]) for pair in (_pair(sampling, data) for data in those)}
        made = comparisons_create(project=run.project, pairs=wanted.values(), origin=origin)
        by_ids = {(row.first_id, row.second_id): row for row in made}
        new: dict[str, list[NewVerdict]] = defaultdict(list)
        for data in those:
            one, two = wanted[_pair(sampling, data)]
            swapped = one.pk > two.pk
            comparison = by_ids[(two.pk, one.pk) if swapped else (one.pk, two.pk)]
            new[data.get("judge", "")].append(_new_verdict(comparison, data, swapped=swapped))
        for key, rows in new.items():
            verdicts_add(judge=judges[key], run=None, verdicts=rows)


def _new_verdict(comparison: Comparison, data: dict[str, Any], *, swapped: bool) -> NewVerdict:
    outcome, p_first, order = data["outcome"], data["p_first"], data["order"]
    if swapped:
        outcome = {"first": "second", "second": "first"}.get(outcome, outcome)
        p_first, order = None if p_first is None else 1.0 - p_first, order[::-1]
    said = LabelledVerdict(
        state=data["state"],
        outcome=outcome,
        p_first=p_first,
        raw=data["raw"],
        rationale=data["rationale"],
        usage=data["usage"],
        flags=tuple(data["flags"]),
    )
    return NewVerdict(comparison.pk, order, said, 0, data.get("seconds"))


# --- the other way: what people said ----------------------------------------------------------------------------------


def overrides_forward(*, run: TrainingRun) -> int:
    """Send the run the labels that people have corrected since the last time; return how many changed.

    Corrections in the whole project are sent, as for memory.kind=overrides. Withdrawals are sent too.
    """
    if run.round is None:
        return 0  # a counterfactual hears nobody
    loop = _loop(run)
    if recipe_of(loop, run.round.index).memory.kind != "overrides":
        return 0
    inbox = store_path(run.run_dir) / INBOX_FILE
    told: dict[str, float | None] = {}
    for message in read_inbox(inbox)[0]:
        if message.type == "override":
            told[message.data["pair"]] = message.data["p_first"]
    labels = _overrides(loop)
    now: dict[str, float | None] = {f"comparison:{key}": label.p_first for key, label in labels.items()}
    now |= dict.fromkeys(set(told) - set(now))
    changed = [key for key, p in sorted(now.items()) if told.get(key) != p]
    rows = Comparison.objects.select_related("prompt", "first", "second").in_bulk(
        [int(key.split(":")[1]) for key in changed]
    )
    for key in changed:
        row = rows[int(key.split(":")[1])]
        write_inbox(
            inbox,
            "override",
            pair=key,
            prompt=row.prompt.messages or row.prompt.text,
            first=row.first.text,
            second=row.second.text,
            first_ids=row.first.token_ids,
            second_ids=row.second.token_ids,
            p_first=now[key],
        )
    return len(changed)


def _overrides(loop: Loop) -> dict[int, Label]:
    """The corrected labels for training, by comparison."""
    corrected = Override.objects.filter(comparison__project=loop.project).values("comparison_id")
    ids = list(trainable(loop).filter(pk__in=corrected).values_list("id", flat=True))
    by = criterion_of(loop)
    labels = labels_of(comparison_ids=ids, judge=label_judge(loop.project, by), criterion=by)
    return {key: label for key, label in labels.items() if label.source == "override" and label.p_first is not None}


# --- when a block has ended -------------------------------------------------------------------------------------------


def used_snapshot(*, run: TrainingRun) -> None:
    """Freeze the run's training data, pair by pair as logged, with the verdicts behind each label; once."""
    round_ = run.round
    if run.snapshot_id is not None or round_ is None:
        return
    loop = round_.loop
    if round_.sampling_run is None:
        _replayed_snapshot(run, loop)
        return
    sampling = round_.sampling_run
    events = drop_superseded(read_events(events_path(run))[0])
    prompt_of = {(e.data["step"], e.data["row"]): e.data["prompt_id"] for e in events if e.type == "sample"}
    learnt = [
        (prompt_of[event.data["step"], row], event.data["step"], i, j, p)
        for event in events
        if event.type == "label"
        for row, i, j, p in event.data["pairs"]
    ]
    if not learnt:
        return
    keys = {(prompt, _index(sampling, step, place)) for prompt, step, i, j, _ in learnt for place in (i, j)}
    answers = _completions(sampling, keys)
    pairs = [
        (answers[prompt, _index(sampling, step, i)], answers[prompt, _index(sampling, step, j)], p)
        for prompt, step, i, j, p in learnt
    ]
    origin = round_origin(loop, round_.index)
    ids = {(c.first_id, c.second_id): c.pk for c in Comparison.objects.filter(project=run.project, origin=origin)}
    labels = []
    for one, two, p in pairs:
        swapped = one.pk > two.pk
        key = ids[(two.pk, one.pk) if swapped else (one.pk, two.pk)]
        labels.append((key, 1.0 - p if swapped else p))
    said = _verdict_ids([key for key, _ in labels], loop.judge)
    name = _labeller(loop)
    recipe = recipe_of(loop, round_.index)
    own = [LabelledComparison(key, p, name, tuple(said[key]), p_without_overrides=p) for key, p in labels]
    before = dict(labels)
    again = [
        replace(label, weight=recipe.memory.weight, p_without_overrides=before.get(label.comparison_id))
        for label in _replayed_overrides(events)
    ]
    replaced = {label.comparison_id for label in again}
    own = [label for label in own if label.comparison_id not in replaced] + again
    snapshot = snapshot_create(
        project=run.project,
        name=f"loop-{loop.pk}-round-{round_.index}",
        labels=own,
        before=overrides_before(loop, round_.index),
        start=start_of(loop),
        label_policy={"recipe": loop.recipe, "label": recipe.to_json()["label"], "judge": name},
    )
    TrainingRun.objects.filter(pk=run.pk).update(snapshot=snapshot)


def _replayed_overrides(events: Sequence[Event]) -> list[LabelledComparison]:
    """The corrections that the run's steps used, each in its last form, whatever happened since."""
    learnt = {key: p for event in events if event.type == "overrides" for key, p in event.data["pairs"]}
    p_of = {int(key.split(":", 1)[1]): p for key, p in learnt.items()}
    made: dict[int, tuple[str, ...]] = {}
    for part in chunks(sorted(p_of), 500):
        for row in Override.objects.filter(comparison_id__in=part, kind="override").order_by("id"):
            if P_OF_OUTCOME[row.choice] == p_of[row.comparison_id]:
                made[row.comparison_id] = (f"override:{row.pk}",)
    return [LabelledComparison(key, p, "override", made.get(key, ())) for key, p in sorted(p_of.items())]


def _replayed_snapshot(run: TrainingRun, loop: Loop) -> None:
    """A replay was trained on the pairs logged by earlier runs, with their judge's labels, not people's."""
    runs = replayed_runs(loop)
    items = list(SnapshotItem.objects.filter(snapshot__training_runs__in=runs).order_by("id"))
    logged = _loop(runs[0]) if runs else loop
    said = _verdict_ids([item.comparison_id for item in items if item.source == "override"], logged.judge)
    labels = []
    for item in items:
        p, source, label_ids, weight = item.p_first, item.source, tuple(item.label_ids), item.weight
        if source == "override":
            if item.p_first_without_overrides is None:
                continue
            p, source, weight = item.p_first_without_overrides, _labeller(logged), 1.0
            label_ids = tuple(said[item.comparison_id])
        labels.append(LabelledComparison(item.comparison_id, p, source, label_ids, weight, p))
    if labels:
        snapshot = snapshot_create(
            project=run.project,
            name=f"loop-{loop.pk}-replay",
            labels=labels,
            start=start_of(loop),
            label_policy={"recipe": loop.recipe, "replay": loop.config["memory"]},
        )
        TrainingRun.objects.filter(pk=run.pk).update(snapshot=snapshot)


def _verdict_ids(comparison_ids: Sequence[int], judge: Judge | None) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for part in chunks(comparison_ids, 500):
        rows = Verdict.objects.filter(judge=judge, comparison_id__in=part).order_by("id")
        for key, pk in rows.values_list("comparison_id", "id"):
            found[key].append(f"verdict:{pk}")
    return found


def _labeller(loop: Loop) -> str:
    return f"judge:{loop.judge.name}" if loop.judge else "scores"


def _loop(run: TrainingRun) -> Loop:
    if run.round is None:
        raise AssertionError("an on-policy run belongs to a round")
    return run.round.loop


def _index(sampling: SamplingRun, step: int, place: int) -> int:
    return step * sampling.n + place


def _pair(sampling: SamplingRun, data: dict[str, Any]) -> tuple[Key, Key]:
    first, second = (_index(sampling, data["step"], place) for place in data["pair"])
    return (data["prompt_id"], first), (data["prompt_id"], second)


def _completions(sampling: SamplingRun, keys: set[Key]) -> dict[Key, Completion]:
    found: dict[Key, Completion] = {}
    for part in chunks(sorted({index for _, index in keys}), 500):
        for row in Completion.objects.filter(run=sampling, index__in=part).select_related("prompt"):
            found[row.prompt.external_id, row.index] = row
    return found


def _prompts(run: TrainingRun, samples: Sequence[dict[str, Any]]) -> dict[str, Prompt]:
    names = sorted({data["prompt_id"] for data in samples})
    rows = Prompt.objects.filter(project=run.project, external_id__in=names, split="train")
    return {row.external_id: row for row in rows}


def _author(run: TrainingRun, source: str) -> str:
    return f"{run.start.name} → run {run.pk}" if source == "current" and run.start else source
