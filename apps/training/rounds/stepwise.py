"""Rounds of an on-policy recipe: blocks of steps between two evaluations.

A block is one training run that continues from the one before with its whole state: weights, optimizer, value head,
anchor. `stream.py` stores its answers and labels in the database while it runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from django.db import transaction

from apps.judging.specs import asked_with, spec_of
from apps.labels.models import Judge
from apps.policies.models import Checkpoint
from apps.policies.services import room_on_disk
from apps.policies.store import store_path
from apps.prompts.models import Prompt
from apps.samples.models import SamplingRun
from apps.samples.services import room_for_answers
from apps.training.models import Loop, Round, TrainingRun
from apps.training.sets.directories import run_dir_made, run_file, run_file_names
from apps.training.sets.runs import events_path, how_it_computes
from apps.training.sets.snapshots import NothingToTrainOn
from prefloop.judging.spec import JudgeSpec
from prefloop.recipes.engines import choose_in_steps
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.prompts import PromptRow, write_prompts
from prefloop.recipes.recipe import Recipe
from prefloop.recipes.runspec import (
    EVENTS_FILE,
    ONLINE,
    SPEC_FILE,
    STEP,
    RunSpec,
    portable,
    spec_from,
    write_spec,
)
from prefloop.seeds import labeller_seed, trainer_seed

PROMPTS_FILE = "prompts.jsonl"
SAVE_EVERY = 12  # steps: what a killed worker costs at most


def online_run_create(
    *, loop: Loop, round_: Round, recipe: Recipe, prompt_ids: Sequence[int], start: Checkpoint, reference: Checkpoint
) -> TrainingRun:
    """Make the run of a block, its directory, prompts and spec; it is not enqueued yet.

    Raises NothingToTrainOn and QuotaReached.
    """
    judge = loop.judge
    replays = logged_runs(loop, recipe)
    if judge is None and recipe.judges_in_steps:
        raise NothingToTrainOn("the loop has no judge to score or compare its answers")
    before = _run_before(round_)
    n_steps = -(-len(prompt_ids) // recipe.objective.batch) * recipe.objective.epochs
    if replays:  # its steps are those that were logged, whatever the settings of a fresh run would make of the prompts
        n_steps = sum(run.step for run in replayed_runs(loop))
    with transaction.atomic():
        if not replays:
            n = sum(draw.n for draw in recipe.draws) * len(prompt_ids) * recipe.objective.epochs
            room_for_answers(loop.project, loop.started_by, n=n)
        room_on_disk(loop.project, start.n_bytes)
        run = TrainingRun.objects.create(
            project=loop.project, round=round_, kind=ONLINE, start=start, reference=reference, run_dir=""
        )
        run.run_dir = f"{loop.project.slug}/runs/{run.pk}"
        folder = store_path(run.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        prompts = write_prompts(folder / PROMPTS_FILE, _prompts(prompt_ids, judge))
        online = OnlineSpec.of(
            recipe,
            reward_model=_weights(judge),
            judge=_judge_spec(judge, seed=labeller_seed(loop.seed, "judge")),
            first_step=(round_.index - 1) * n_steps,
            total_steps=loop.n_rounds * n_steps,
            carry=str(_carry(before)) if before is not None else None,
            replay=tuple(str(path) for path in replays),
            replay_seed=loop.seed if replays else 0,
        )
        spec = RunSpec(
            run_id=f"{loop.project.slug}-{run.pk}",
            kind=ONLINE,
            start=str(store_path(start.path)),
            snapshot=PROMPTS_FILE,
            snapshot_sha256=_digest(replayed_runs(loop)) if replays else prompts.sha256,
            reference=str(store_path(reference.path)),
            objective=recipe.objective,
            online=online,
            adapter=recipe.adapter,
            seed=trainer_seed(loop.seed, "round", round_.index),
            **how_it_computes(),
            save_every=SAVE_EVERY,
            keep_last=1,
            keep_every=recipe.keep_every,
            parent=start.name,
        )
        run.spec = {"objective": recipe.to_json()["objective"], "seed": spec.seed, "n_steps": n_steps}
        run.save(update_fields=["run_dir", "spec"])
        write_spec(folder, portable(spec, folder, root=store_path("")))
        run_dir_made(run)
        if not replays:
            _sampling_run(loop, round_, recipe, prompt_ids, start, seed=spec.seed)
    return run


def online_run_without_overrides(real: TrainingRun) -> TrainingRun:
    """Make a block's run again, in its own directory, without replaying overrides. It is not enqueued yet."""
    spec = spec_from(run_file(real, SPEC_FILE))
    if spec.online is None:
        raise AssertionError("an on-policy run must say how it samples")
    if spec.online.carry is not None and not _is_there(spec.online.carry, real):
        raise NothingToTrainOn("the optimizer's state that the block went on from has been cleared away")
    with transaction.atomic():
        run = TrainingRun.objects.create(
            project=real.project, kind=ONLINE, start=real.start, reference=real.reference, run_dir="", spec=real.spec
        )
        run.run_dir = f"{real.project.slug}/runs/{run.pk}"
        run.save(update_fields=["run_dir"])
        folder = store_path(run.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROMPTS_FILE).write_bytes(run_file(real, PROMPTS_FILE))
        online = replace(spec.online, memory=replace(spec.online.memory, kind="none"))
        write_spec(folder, replace(spec, run_id=f"{real.project.slug}-{run.pk}", online=online, keep_every=0))
        run_dir_made(run)
    return run


def _judge_spec(judge: Judge | None, *, seed: int) -> JudgeSpec | None:
    """Say how a judge judges inside a step; None for a reward model, which is a directory."""
    if judge is None or judge.declared.weights == "reward":
        return None
    return spec_of(judge, seed=0 if judge.declared.endpoint else seed)


def _weights(judge: Judge | None) -> str | None:
    is_reward = judge is not None and judge.declared.weights == "reward"
    return str(store_path(judge.checkpoint.path)) if is_reward and judge and judge.checkpoint else None


def _prompts(prompt_ids: Sequence[int], judge: Judge | None) -> list[PromptRow]:
    rows = Prompt.objects.in_bulk(list(prompt_ids))
    reads = judge is not None and any(one.declared.metadata for one in asked_with(judge).values())
    return [
        PromptRow(rows[pk].external_id, rows[pk].messages or rows[pk].text, rows[pk].metadata if reads else {})
        for pk in prompt_ids
    ]


def _sampling_run(
    loop: Loop, round_: Round, recipe: Recipe, prompt_ids: Sequence[int], start: Checkpoint, *, seed: int
) -> None:
    """Make the run that the block's answers belong to, without jobs of its own."""
    draw = recipe.draws[0]
    chosen = choose_in_steps(draw.engine)
    run = SamplingRun.objects.create(
        project=loop.project,
        checkpoint=start,
        prompt_ids=list(prompt_ids),
        n=sum(one.n for one in recipe.draws),
        temperature=draw.temperature,
        top_p=draw.top_p,
        top_k=draw.top_k,
        max_tokens=draw.max_tokens,
        seed=seed,
        purpose="loop",
        started_by=loop.started_by,
        engine=chosen.name,
        engine_why=chosen.why,
    )
    Round.objects.filter(pk=round_.pk).update(sampling_run=run)


def _run_before(round_: Round) -> TrainingRun | None:
    runs = TrainingRun.objects.filter(round__loop_id=round_.loop_id, round__index=round_.index - 1, kind=ONLINE)
    return runs.order_by("-id").first()


def _carry(run: TrainingRun) -> Path:
    """The directory with the state for the next block: the last step's checkpoint."""
    found = {name.partition("/")[0] for name in run_file_names(run) if name.startswith(STEP) and "/" in name}
    if not found:
        raise NothingToTrainOn(f"training run {run.pk} kept no checkpoint to go on from: its directory was cleared")
    return store_path(run.run_dir) / max(found)


def _is_there(carry: str, run: TrainingRun) -> bool:
    """Whether the run before still has the checkpoint that this one went on from."""
    place = (store_path(run.run_dir) / carry).resolve()
    if not place.is_relative_to(store_path("")):
        return place.exists()
    before = TrainingRun.objects.filter(run_dir=place.parent.relative_to(store_path("")).as_posix()).first()
    return before is not None and any(name.startswith(f"{place.name}/") for name in run_file_names(before))


def replayed_runs(loop: Loop) -> list[TrainingRun]:
    """The blocks of the loop whose stream this one replays, in order."""
    pk = Recipe.from_json(loop.config).memory.run
    runs = TrainingRun.objects.filter(round__loop_id=int(pk or 0), round__loop__project=loop.project_id, kind=ONLINE)
    return list(runs.filter(output__isnull=False).order_by("round__index", "id"))


def logged_runs(loop: Loop, recipe: Recipe) -> list[Path]:
    """The logs that a tandem recipe replays; none for another. Raises NothingToTrainOn if they no longer exist."""
    if recipe.memory.kind != "replay":
        return []
    runs = replayed_runs(loop)
    paths = [events_path(run) for run in runs]
    if not paths or not all(EVENTS_FILE in run_file_names(run) for run in runs):
        raise NothingToTrainOn(f"the log of loop {recipe.memory.run}, which is to be replayed, no longer exists")
    return paths


def _digest(runs: Sequence[TrainingRun]) -> str:
    digest = hashlib.sha256()
    for run in runs:
        digest.update(run_file(run, EVENTS_FILE))
    return digest.hexdigest()
