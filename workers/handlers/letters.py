"""The demo's first step: its prompts, and a policy trained from scratch."""

from __future__ import annotations

import shutil
from typing import Any

from django.conf import settings

from apps.jobs.registry import JobContext, handler
from apps.policies.services import checkpoint_register
from apps.policies.store import checkpoint_relative_path, store_path
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.prompts.services import NewPrompt, prompts_add
from apps.samples.services import sampling_run_create
from prefloop.seeds import sampler_seed
from prefloop.worlds.letters.sft import MAX_TOKENS, train_sft
from prefloop.worlds.letters.world import LettersWorld
from workers import demo, model_cache


@handler(demo.SEED_KIND, queue="gpu")
def letters_seed(ctx: JobContext) -> dict[str, Any]:
    """Make the world's prompts and policy, then enqueue the sampling: payload {project, seed}."""
    project = Project.objects.get(pk=ctx.payload["project"])
    seed = int(ctx.payload.get("seed", 0))
    world = LettersWorld(seed)
    with ctx.fenced():
        for split, name in (("train", demo.TRAIN_SET), ("eval", demo.EVAL_SET)):
            prompts_add(
                project=project,
                set_name=name,
                prompts=[
                    NewPrompt(text=prompt.text, external_id=f"letters-{prompt.id}", split=split)
                    for prompt in world.prompts(split)  # type: ignore[arg-type]
                ],
            )
    ctx.log(f"{Prompt.objects.filter(project=project).count()} prompts written")
    directory = store_path(checkpoint_relative_path(project.slug, demo.POLICY))
    if not directory.exists():
        _train(ctx, directory, seed)
    with ctx.fenced():
        checkpoint = checkpoint_register(
            project=project,
            name=demo.POLICY,
            role="policy",
            directory=directory,
            recipe="sft",
            make_default=True,
        )
        prompts = Prompt.objects.filter(project=project).order_by("id")
        ids = [
            *prompts.filter(split="train").values_list("id", flat=True)[: demo.N_TRAIN_PROMPTS],
            *prompts.filter(split="eval").values_list("id", flat=True)[: demo.N_EVAL_PROMPTS],
        ]
        run = sampling_run_create(
            project=project,
            checkpoint=checkpoint,
            prompt_ids=ids,
            n=demo.N_ANSWERS,
            max_tokens=MAX_TOKENS,
            seed=sampler_seed(seed, "demo"),
            follow_up_kind="letters.seed.compare",
            follow_up_payload={"project": project.pk, "seed": seed},
        )
    return {"checkpoint": checkpoint.name, "sampling_run": run.pk}


def _train(ctx: JobContext, directory: Any, seed: int) -> None:
    staging = directory.parent / f".{demo.POLICY}.{ctx.job_id}.{ctx.attempt}"
    shutil.rmtree(staging, ignore_errors=True)
    model_cache.use_threads()
    ctx.log("training a policy of letters from nothing")

    def tell(step: int, n_steps: int, loss: float) -> None:
        ctx.check()
        ctx.progress(step, n_steps, f"training the policy, loss {loss:.2f}")

    try:
        result = train_sft(staging, seed=seed, on_progress=tell, threads=settings.WORKER_THREADS)
        staging.rename(directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    ctx.log(f"{result.n_parameters:,} parameters, {result.n_letters:,} letters, {result.seconds:.0f} s")
