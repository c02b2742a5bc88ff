"""A demo's later steps: comparisons, judges, verdicts, labels. Each is an ordinary run with an ordinary follow-up."""

from __future__ import annotations

from typing import Any

from apps.dashboard import demos
from apps.jobs.clock import database_now
from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure, handler
from apps.judging.services import judge_create, judging_run_create
from apps.labels.models import Judge
from apps.labels.services import preferences_derive
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from apps.policies.models import Endpoint
from apps.policies.selectors import checkpoint_default
from apps.projects.models import Project
from apps.samples.models import Comparison, Completion
from apps.samples.services import comparisons_create
from prefloop.answers import same_answer
from prefloop.demos import DEMOS, DemoJudge
from prefloop.judging.kinds import kind_of
from workers.worlds import WORLDS


@handler(demos.COMPARE, queue="cpu")
def compare(ctx: JobContext) -> dict[str, Any]:
    """Pair the answers, mark the truth of the held-out ones, make the two judges and ask the first."""
    project, seed = _project(ctx)
    demo, world = DEMOS[project.world], WORLDS[project.world]
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
        judge = _judge(project, demo.labels)
        _judge(project, demo.second)
        judging_run_create(
            project=project,
            judge=judge,
            comparison_ids=[comparison.pk for comparison in made],
            seed=seed,
            follow_up_kind=demos.SECOND,
            follow_up_payload={"project": project.pk, "seed": seed},
        )
    return {"n_comparisons": len(made)}


@handler(demos.SECOND, queue="cpu")
def second(ctx: JobContext) -> dict[str, Any]:
    """Ask the second judge about every held-out comparison and some of the others, in both orders."""
    project, seed = _project(ctx)
    demo = DEMOS[project.world]
    rows = Comparison.objects.filter(project=project, origin="seed").order_by("id")
    ids = [
        *rows.filter(held_out=False).values_list("id", flat=True)[: demo.n_second],
        *rows.filter(held_out=True).values_list("id", flat=True),
    ]
    with ctx.fenced():
        judging_run_create(
            project=project,
            judge=_judge(project, demo.second),
            comparison_ids=ids,
            seed=seed,
            follow_up_kind=demos.FINISH,
            follow_up_payload={"project": project.pk, "seed": seed},
        )
    return {"n_comparisons": len(ids)}


@handler(demos.FINISH, queue="cpu")
def finish(ctx: JobContext) -> dict[str, Any]:
    """Derive the labels: the demo is ready."""
    project, _ = _project(ctx)
    return {"n_preferences": preferences_derive(project=project, now=database_now())}


def _project(ctx: JobContext) -> tuple[Project, int]:
    if ctx.payload.get("n_failed") or ctx.payload.get("n_cancelled"):
        raise JobFailure(FailureClass.DATA, "the step before did not end well: see its job")
    return Project.objects.get(pk=ctx.payload["project"]), int(ctx.payload["seed"])


def _judge(project: Project, declared: DemoJudge) -> Judge:
    found = Judge.objects.filter(project=project, name=declared.name).first()
    if found is not None:
        return found
    needs = kind_of(declared.kind)
    return judge_create(
        project=project,
        name=declared.name,
        kind=declared.kind,
        mode=declared.mode,
        criterion=declared.criterion,
        options=dict(declared.options),
        endpoint=_simulated(project, declared) if needs.endpoint else None,
        checkpoint=checkpoint_default(project, needs.weights) if needs.weights else None,
        is_simulated=needs.endpoint,
    )


def _simulated(project: Project, declared: DemoJudge) -> Endpoint:
    """Return the endpoint of a judge that is simulated here, with its known biases."""
    endpoint = Endpoint.objects.filter(project=project, name=declared.name).first() or endpoint_create(
        project=project,
        name=declared.name,
        base_url=f"{SIMULATED_SCHEME}{project.world}",
        model=declared.name,
        is_simulated=True,
    )
    Endpoint.objects.filter(pk=endpoint.pk).update(capabilities={"biases": dict(declared.biases or {})})
    return endpoint
