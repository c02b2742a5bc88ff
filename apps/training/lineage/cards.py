"""The model card of a checkpoint: what it is, its training data, its measurements, how to reproduce it.

Everything in it is read from the database; of an imported model only what its files say is known. `checkpoint_card`
collects, `card_markdown` writes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from apps.core.chunks import chunks
from apps.labels.models import Judge, Verdict
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_ancestors
from apps.training.changes import changes_of, recipe_of
from apps.training.lineage.measured import Measured, in_words, measured
from apps.training.models import KeptStep, Loop, Round, Snapshot, SnapshotItem, Stage, TrainingRun
from apps.training.rounds.on_the_way import kept_steps
from apps.training.sets.overrides import OverrideShare, override_share
from prefloop.config import describe
from prefloop.recipes.catalogue import UnknownRecipe, get_recipe
from prefloop.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Changed:
    """A setting that differs from the recipe's default. `source`: of the setting, with the values of its paper."""

    key: str
    value: Any
    default: Any
    source: str


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A checkpoint of the lineage, itself last, with the training set it was trained on (None: imported, or not
    known).
    """

    checkpoint: Checkpoint
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class Card:
    checkpoint: Checkpoint
    run: TrainingRun | None
    loop: Loop | None
    round: Round | None
    recipe: Recipe | None
    changed: tuple[Changed, ...]
    line: tuple[Ancestor, ...]
    judges: tuple[Judge, ...]
    measured: tuple[Measured, ...]
    command: str
    counterfactual_of: Round | None = None  # the round that was trained again for it, without people's overrides

    @property
    def snapshot(self) -> Snapshot | None:
        return self.run.snapshot if self.run else None

    @property
    def overrides(self) -> OverrideShare | None:
        return override_share(self.snapshot) if self.snapshot else None


def checkpoint_card(checkpoint: Checkpoint) -> Card:
    """Gather the card of a checkpoint."""
    run = (
        TrainingRun.objects.filter(Q(output=checkpoint) | Q(kept_steps__checkpoint=checkpoint))
        .select_related("snapshot", "round__loop__judge", "round__loop__initial", "round__loop__project")
        .first()
    )
    round_ = run.round if run else None
    loop = round_.loop if round_ else None
    recipe = recipe_of(loop, round_.index) if loop and round_ else None
    return Card(
        checkpoint=checkpoint,
        run=run,
        loop=loop,
        round=round_,
        recipe=recipe,
        changed=_changed(recipe) if recipe else (),
        line=checkpoint_line(checkpoint),
        judges=_judges(run.snapshot if run else None, loop),
        measured=tuple(_measured(checkpoint)),
        command=loop_command(loop) if loop else "",
        counterfactual_of=Round.objects.filter(counterfactual__run=run).select_related("loop").first() if run else None,
    )


def loop_command(loop: Loop) -> str:
    """The command that repeats a loop with its settings and seed, from where a person started it."""
    words = ["python", "manage.py", "run_recipe", loop.recipe, "--project", loop.project.slug]
    words += ["--rounds", str(loop.n_rounds), "--seed", str(loop.seed)]
    start = loop.initial
    if start is not None and TrainingRun.objects.filter(output=start, round__loop=loop, round__index=0).exists():
        start = start.parent  # the loop itself taught it to judge, and does so again
    if start is not None:
        words += ["--start", start.name]
    try:
        places = {info.key: place for place, info in enumerate(describe(get_recipe(loop.recipe)))}
    except UnknownRecipe:  # of an older version: its settings are still said
        places = {}
    # in the recipe's order: a database need not keep the order of an object's keys
    for key in sorted(loop.chosen, key=lambda key: (places.get(key, len(places)), key)):
        words += ["--set", f"{key}={loop.chosen[key]}"]
    return shlex.join(words)


def _changed(recipe: Recipe) -> tuple[Changed, ...]:
    try:
        own = {info.key: info for info in describe(get_recipe(recipe.name))}
    except UnknownRecipe:
        return ()
    rows = []
    for info in describe(recipe):
        default = own.get(info.key)
        if default is None or default.default != info.default:
            source = default.source if default else info.source
            rows.append(Changed(info.key, info.default, default.default if default else None, source))
    return tuple(rows)


def checkpoint_line(checkpoint: Checkpoint) -> tuple[Ancestor, ...]:
    """Return a checkpoint's ancestors and itself, the oldest first, each with its training set."""
    rows = [*checkpoint_ancestors(checkpoint), checkpoint]
    made: dict[int, Snapshot | None] = {}
    for chunk in chunks([row.pk for row in rows], 500):
        for run in TrainingRun.objects.filter(output__in=chunk).select_related("snapshot"):
            if run.output_id is not None:
                made[run.output_id] = run.snapshot
        for kept in KeptStep.objects.filter(checkpoint__in=chunk).select_related("run__snapshot"):
            made[kept.checkpoint_id] = kept.run.snapshot
    return tuple(Ancestor(row, made.get(row.pk)) for row in rows)


def _judges(snapshot: Snapshot | None, loop: Loop | None) -> tuple[Judge, ...]:
    """The judges whose verdicts are the training set's labels, and the loop's own, version by version."""
    found: dict[int, Judge] = {}
    if loop is not None and loop.judge is not None:
        found[loop.judge.pk] = loop.judge
    if snapshot is not None:
        lists = SnapshotItem.objects.filter(snapshot=snapshot).values_list("label_ids", flat=True)
        ids = sorted({int(one.split(":", 1)[1]) for labels in lists for one in labels if one.startswith("verdict:")})
        for chunk in chunks(ids, 500):
            for judge in Judge.objects.filter(
                pk__in=Verdict.objects.filter(pk__in=chunk).values("judge_id")
            ).select_related("endpoint", "checkpoint"):
                found[judge.pk] = judge
    return tuple(sorted(found.values(), key=lambda judge: (judge.name, judge.version)))


def _measured(checkpoint: Checkpoint) -> Iterable[Measured]:
    rounds = Round.objects.filter(output=checkpoint, stage=Stage.DONE).order_by("-index", "id")[:20]
    trained = TrainingRun.objects.filter(output=checkpoint, round__stage=Stage.DONE).select_related("round").first()
    rows = list(rounds)
    if (
        trained is not None
        and trained.round is not None
        and trained.round.result.get("reward_model") == checkpoint.name
    ):
        rows.append(trained.round)
    for round_ in rows:
        found = measured(round_, round_.result)
        if found.figures:
            yield found
    for kept in kept_steps(checkpoint=checkpoint, ended_at__isnull=False).select_related("run__round"):
        if kept.run.round is not None:
            yield measured(kept.run.round, kept.result)


# --- Markdown --------------------------------------------------------------------------------------------------------


def card_markdown(card: Card) -> str:
    """Write the card as the README.md of the weights. Names chosen by people can't break its tables."""
    one = card.checkpoint
    parts = [
        "---\n# Fill in before you publish: the licence of these weights follows from the base model and the data.\n"
        "license:\nbase_model:\ndatasets:\ntags: [prefloop"
        + (f", {card.recipe.name}" if card.recipe else "")
        + "]\n---\n",
        f"# {_safe(one.name)}\n",
        _origin(card),
        "## What it is\n\n"
        + _table(
            ("", ""),
            [
                ("kind", one.get_role_display()),
                ("architecture", one.architecture or "not known"),
                ("parameters", f"{one.n_parameters:,}" if one.n_parameters is not None else "not known"),
                ("fingerprint", f"`{one.fingerprint}`"),
                ("project", one.project.slug),
                ("made", f"{one.created_at:%Y-%m-%d %H:%M} UTC"),
                ("approved for use", _approval(one)),
            ],
        ),
        _settings(card),
        "## Lineage\n\n"
        + _table(
            ("checkpoint", "recipe", "fingerprint", "training set, SHA-256", "rows"),
            [
                (
                    row.checkpoint.name,
                    row.checkpoint.recipe or "–",
                    f"`{row.checkpoint.fingerprint[:16]}`",
                    f"`{row.snapshot.sha256}`" if row.snapshot else "–",
                    f"{row.snapshot.n_pairs:,}" if row.snapshot else "–",
                )
                for row in card.line
            ],
        ),
        _data(card),
        _judges_part(card),
        _evaluation(card),
        _again(card),
        "## Licence and use\n\n- Licence of the weights: (fill in)\n- Licence of the base model: (fill in)\n"
        "- Licence of the training data: (fill in)\n- Intended use: (fill in)\n- Contact: (fill in)\n",
    ]
    return "\n".join(part for part in parts if part)


def _origin(card: Card) -> str:
    if (real := card.counterfactual_of) is not None:
        return (
            f"Round {real.index} of loop {real.loop_id} (`{real.loop.recipe}`), "
            "trained again without people's overrides, for comparison.\n"
        )
    if card.loop is None or card.recipe is None or card.round is None:
        made = "Trained by prefloop outside a loop." if card.run else "Imported; its training is not known here."
        return f"{made}\n"
    text = f"{_safe(card.recipe.title)} (`{card.recipe.name}`), round {card.round.index} of {card.loop.n_rounds}"
    if card.run is not None and card.run.kind == "sft" and card.round.index == 0:
        text = f"What loop {card.loop.pk} (`{card.recipe.name}`) began with, taught to judge before its first round"
    if card.run is not None and card.run.kind == "reward-model" and card.round.index == 0:
        text = f"The reward model that loop {card.loop.pk} (`{card.recipe.name}`) made before its first round"
    return f"{text}. Source of the method: {_safe(card.recipe.paper)}.\n"


def _approval(one: Checkpoint) -> str:
    if one.approved_at is None:
        return "no"
    text = f"{one.approved_at:%Y-%m-%d %H:%M} UTC by {one.approved_by or 'a former member'}"
    return f"{text}: {one.approval_note}" if one.approval_note else text


def _settings(card: Card) -> str:
    if card.loop is None or card.recipe is None:
        return ""
    text = f"## Settings\n\nSeed {card.loop.seed}. "
    if not card.changed:
        return text + "Every setting is the recipe's own default.\n"
    rows = [(f"`{row.key}`", row.value, row.default, row.source or "–") for row in card.changed]
    return (
        text
        + "All others are the recipe's own defaults.\n\n"
        + _table(("setting", "value", "recipe's default", "source"), rows)
    )


def _data(card: Card) -> str:
    found = card.snapshot
    if found is None:
        return ""
    rows: list[tuple[Any, ...]] = [(source, f"{n:,}") for source, n in sorted(found.sources.items())]
    share = override_share(found)
    again = f", {share.n_replayed:,} are overrides replayed from earlier rounds" if share.n_replayed else ""
    return (
        f"## Training set\n\n`{found.name}`: {found.n_pairs:,} rows, of which {share.n_overrides:,} labels are "
        f"people's overrides (they changed {share.n_changed:,}){again} and {found.n_human:,} other labels by people.\n"
        f"SHA-256 of the exact bytes: `{found.sha256}`\n\n" + _table(("labels by", "number"), rows)
    )


def _judges_part(card: Card) -> str:
    if not card.judges:
        return ""
    rows = []
    for judge in card.judges:
        model = f"`{judge.checkpoint.fingerprint[:16]}`" if judge.checkpoint else ""
        model = judge.endpoint.model if judge.endpoint else model
        rows.append((judge.name, judge.version, judge.get_kind_display(), model or "–", judge.criterion or "–"))
    return "## Judges\n\n" + _table(("judge", "version", "kind", "model", "criterion"), rows)


def _evaluation(card: Card) -> str:
    if not card.measured:
        return "## Evaluation\n\nIt has not been measured.\n"
    parts = ["## Evaluation\n\nIntervals are 95 %, over prompts (Wilson's for an accuracy).\n"]
    for found in card.measured:
        n = [
            f"{count:,} {what}"
            for count, what in (
                (found.n_prompts, "held-out prompts"),
                (found.n_answers, "answers"),
                (found.n_comparisons, "held-out comparisons"),
            )
            if count
        ]
        role = "as the start" if found.round == 0 else f"after round {found.round}"
        parts.append(f"Loop {found.loop_id}, {role}{': ' if n else ''}{', '.join(n)}.\n")
        parts.append(_table(("figure", "value"), [(figure.name, in_words(figure)) for figure in found.figures]))
    return "\n".join(parts)


def _again(card: Card) -> str:
    if card.loop is None or card.round is None:
        return ""
    text = (
        f"## Reproduce it\n\n```\n{card.command}\n```\n\nWith this seed, sampling and training repeat exactly "
        "on the same "
        "machine and versions. What people decided during the loop is not in the command; it is in the "
        "training set with "
        "the hash above.\n"
    )
    for change in changes_of(card.loop):
        if change.from_round <= card.round.index and change.chosen:
            said = ", ".join(f"`{_safe(key)}={_safe(value)}`" for key, value in change.chosen.items())
            text += f"While it ran, people changed from round {change.from_round} on: {said}.\n"
    if card.loop.n_rounds != card.round.index and card.round.index > 0:
        text += f"This checkpoint is the result of round {card.round.index}.\n"
    return text


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_safe(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _safe(value: Any) -> str:
    """One line that contains no cell, tag or link."""
    text = " ".join(str(value).split())
    for sign in ("\\", "|", "<", "[", "]"):
        text = text.replace(sign, "\\" + sign)
    return text
