"""The demo's later steps: comparisons, judges, verdicts, labels. Each is an ordinary run with an ordinary follow-up."""

from __future__ import annotations

from typing import Any

from apps.jobs.clock import database_now
from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure, handler
from apps.judging.services import judge_create, judging_run_create
from apps.labels.models import Judge
from apps.labels.services import preferences_derive
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from apps.policies.models import Endpoint
from apps.projects.models import Project
from apps.samples.models import Comparison, Completion
from apps.samples.services import comparisons_create
from prefloop.answers import same_answer
from prefloop.worlds.letters.world import WORLD_JUDGE, LettersWorld
from workers import demo


@handler("letters.seed.compare", queue="cpu")
def compare(ctx: JobContext) -> dict[str, Any]:
    """Pair the answers, mark the truth of the held-out ones, make the two judges and ask the first."""
    project, seed = _project(ctx)
    world = LettersWorld(seed)
    by_prompt: dict[int, list[Completion]] = {}
    for row in Completion.objects.filter(project=project).select_related("prompt").order_by("prompt_id", "index"):
        by_prompt.setdefault(row.prompt_id, []).append(row)
    pairs = [
        (rows[at], rows[at + 1])
        for rows in by_prompt.values()
        for at in range(0, len(rows) - 1, 2)
        if not same_answer(rows[at].text, rows[at + 1].text)
    ]
    with ctx.fenced():
        made = comparisons_create(project=project, pairs=pairs, origin="seed")
        held_out = Comparison.objects.filter(project=project, held_out=True).select_related("prompt", "first", "second")
        for comparison in held_out:
            comparison.gold = world.gold(comparison.prompt.text, comparison.first.text, comparison.second.text)
        Comparison.objects.bulk_update(held_out, ["gold"], batch_size=200)
        judge = _world_judge(project)
        _simulated_judge(project)
        judging_run_create(
            project=project,
            judge=judge,
            comparison_ids=[comparison.pk for comparison in made],
            seed=seed,
            follow_up_kind="letters.seed.simulated",
            follow_up_payload={"project": project.pk, "seed": seed},
        )
    return {"n_comparisons": len(made)}


@handler("letters.seed.simulated", queue="cpu")
def simulated(ctx: JobContext) -> dict[str, Any]:
    """Ask the simulated language model about every held-out comparison and some of the others, in both orders."""
    project, seed = _project(ctx)
    rows = Comparison.objects.filter(project=project, origin="seed").order_by("id")
    ids = [
        *rows.filter(held_out=False).values_list("id", flat=True)[: demo.N_SIMULATED],
        *rows.filter(held_out=True).values_list("id", flat=True),
    ]
    with ctx.fenced():
        judging_run_create(
            project=project,
            judge=_simulated_judge(project),
            comparison_ids=ids,
            seed=seed,
            follow_up_kind=demo.FINISH_KIND,
            follow_up_payload={"project": project.pk, "seed": seed},
        )
    return {"n_comparisons": len(ids)}


@handler(demo.FINISH_KIND, queue="cpu")
def finish(ctx: JobContext) -> dict[str, Any]:
    """Derive the labels: the demo is ready."""
    project, _ = _project(ctx)
    return {"n_preferences": preferences_derive(project=project, now=database_now())}


def _project(ctx: JobContext) -> tuple[Project, int]:
    if ctx.payload.get("n_failed") or ctx.payload.get("n_cancelled"):
        raise JobFailure(FailureClass.DATA, "the step before did not end well: see its job")
    return Project.objects.get(pk=ctx.payload["project"]), int(ctx.payload["seed"])


def _world_judge(project: Project) -> Judge:
    return Judge.objects.filter(project=project, name=WORLD_JUDGE).first() or judge_create(
        project=project, name=WORLD_JUDGE, kind="world", options={"noise": demo.WORLD_NOISE}
    )


def _simulated_judge(project: Project) -> Judge:
    found = Judge.objects.filter(project=project, name=demo.SIMULATED_JUDGE).first()
    if found is not None:
        return found
    endpoint = Endpoint.objects.filter(project=project, name=demo.SIMULATED_JUDGE).first() or endpoint_create(
        project=project,
        name=demo.SIMULATED_JUDGE,
        base_url=f"{SIMULATED_SCHEME}letters",
        model="simulated-judge",
        is_simulated=True,
    )
    Endpoint.objects.filter(pk=endpoint.pk).update(capabilities={"biases": demo.BIASES})
    return judge_create(
        project=project,
        name=demo.SIMULATED_JUDGE,
        kind="llm",
        endpoint=endpoint,
        criterion=demo.CRITERION,
        is_simulated=True,
    )
