"""A demo's first step: its world's prompts and policy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.dashboard import demos
from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_register, checkpoint_share, speed_measure
from apps.policies.store import checkpoint_here, checkpoint_relative_path, store_path
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.prompts.services import prompts_add
from apps.samples.services import sampling_run_create
from prefloop.demos import DEMOS
from prefloop.seeds import sampler_seed
from prefloop.types import Split
from workers import model_cache
from workers.worlds import WORLDS, World

SPLITS: tuple[Split, ...] = ("train", "eval")


@handler(demos.SEED, queue="gpu")
def demo_seed(ctx: JobContext) -> dict[str, Any]:
    """Make the world's prompts and policy, then enqueue the sampling: payload {project, seed}."""
    project = Project.objects.get(pk=ctx.payload["project"])
    seed = int(ctx.payload.get("seed", 0))
    demo, world = DEMOS[project.world], WORLDS[project.world]
    with ctx.fenced():
        for split in SPLITS:
            prompts_add(project=project, set_name=f"{world.name}-{split}", prompts=world.prompts(split, seed))
    ctx.log(f"{Prompt.objects.filter(project=project).count()} prompts written")
    directory = store_path(checkpoint_relative_path(project.slug, demo.policy))
    made = Checkpoint.objects.filter(project=project, name=demo.policy).first()
    if made is not None:
        checkpoint_here(made)  # by another worker, which was lost before it could say so
    elif not directory.exists():
        _make(ctx, world, directory, seed)
    checkpoint_share(directory)
    with ctx.fenced():
        checkpoint = checkpoint_register(
            project=project,
            name=demo.policy,
            role="policy",
            directory=directory,
            recipe="sft",
            make_default=True,
        )
        speed_measure(checkpoint=checkpoint)
        prompts = Prompt.objects.filter(project=project).order_by("id")
        ids = [
            *prompts.filter(split="train").values_list("id", flat=True)[: demo.n_train],
            *prompts.filter(split="eval").values_list("id", flat=True)[: demo.n_eval],
        ]
        run = sampling_run_create(
            project=project,
            checkpoint=checkpoint,
            prompt_ids=ids,
            n=demo.n_answers,
            max_tokens=demo.max_tokens,
            temperature=demo.temperature,
            seed=sampler_seed(seed, "demo"),
            follow_up_kind=demos.COMPARE,
            follow_up_payload={"project": project.pk, "seed": seed},
        )
    return {"checkpoint": checkpoint.name, "sampling_run": run.pk}


def _make(ctx: JobContext, world: World, directory: Path, seed: int) -> None:
    staging = directory.parent / f".{directory.name}.{ctx.job_id}.{ctx.attempt}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.parent.mkdir(parents=True, exist_ok=True)
    model_cache.use_threads()

    def tell(done: int, total: int, what: str) -> None:
        ctx.check()
        ctx.progress(done, total, what)

    try:
        world.make_policy(staging, seed=seed, threads=settings.WORKER_THREADS, told=tell)
        staging.rename(directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    ctx.log(f"the policy {directory.name} is made")
