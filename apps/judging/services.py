"""Judges and judging runs. A judge's settings never change: an edit makes the next version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.judging.models import Judge, JudgeKind, JudgingRun, Score, Verdict
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.store import check_name
from apps.projects.models import Project
from apps.samples.models import Comparison, SamplingRun
from apps.samples.services import PROMPTS_PER_JOB
from prefloop.judging.render import (
    BUILT_IN_OF_MODE,
    SCORE_MODES,
    judge_mode,
    load_template,
    template_from_text,
    template_text,
)
from prefloop.judging.verdicts import Order, orders_to_ask
from prefloop.types import LabelledVerdict, PrefloopError

COMPARISONS_PER_JOB = 256
ORDER_CODES: dict[Order, str] = {(0, 1): "01", (1, 0): "10"}
ORDER_OF_CODE: dict[str, Order] = {code: order for order, code in ORDER_CODES.items()}


class BadJudge(PrefloopError):
    """A judge that can't be made, or can't be asked."""


# What a judge has where nothing else is said: Self-Rewarding's three samples, MT-Bench's one, AlpacaEval's temperature.
MODE_DEFAULTS: dict[str, dict[str, Any]] = {
    "additive": {"samples": 3, "temperature": 0.7},
    "rubric": {"samples": 1},
    "soft": {"temperature": 1.0},
}
# What a policy that scores by itself draws with. Yuan et al. 2024, arXiv:2401.10020.
POLICY_DEFAULTS: dict[str, Any] = {"samples": 3, "temperature": 0.7, "top_p": 0.9, "max_tokens": 512, "seed": 0}
WITH_WEIGHTS = (JudgeKind.REWARD_MODEL, JudgeKind.POLICY)  # judges that need torch
MOST_SAMPLES, MOST_POLICY_SAMPLES = 16, 64
RETRIED_STATES = ("error", "unparseable")


@dataclass(frozen=True, slots=True)
class NewVerdict:
    comparison_id: int
    order: str  # "01" or "10"
    verdict: LabelledVerdict
    sample: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NewScore:
    completion_id: int
    value: float | None
    state: str = "ok"
    sample: int = 0
    raw: str = ""
    rationale: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None


def judge_create(
    *,
    project: Project,
    name: str,
    kind: str,
    order_policy: str = "both_agree",
    endpoint: Endpoint | None = None,
    checkpoint: Checkpoint | None = None,
    template: str = "",
    criterion: str = "",
    mode: str = "text",
    options: dict[str, Any] | None = None,
    is_simulated: bool = False,
) -> Judge:
    """Make a judge, or the next version of the one that has this name. Raises BadJudge, TemplateError."""
    check_name(name)
    if kind == JudgeKind.REWARD_MODEL and (checkpoint is None or checkpoint.role != "reward"):
        raise BadJudge("a reward-model judge needs a reward-model checkpoint")
    if kind == JudgeKind.POLICY:
        if checkpoint is None or checkpoint.role != "policy":
            raise BadJudge("a policy that scores by itself needs a policy checkpoint")
        mode = "additive"
        options = POLICY_DEFAULTS | (options or {})
        if not 1 <= int(options["samples"]) <= MOST_POLICY_SAMPLES:
            raise BadJudge(f"a policy scores an answer 1 to {MOST_POLICY_SAMPLES} times")
    if kind == JudgeKind.LLM:
        if endpoint is None:
            raise BadJudge("a language-model judge needs an endpoint")
        checked = judge_mode(mode)
        options = MODE_DEFAULTS.get(checked, {}) | (options or {})
        if template:
            template_from_text(template, name=name, mode=checked)
        if not criterion.strip():
            raise BadJudge("a language-model judge needs a criterion: what makes an answer better?")
        if checked in SCORE_MODES:
            order_policy = "random"  # it grades each answer by itself: the order shown can't matter
            if not 1 <= int(options["samples"]) <= MOST_SAMPLES:
                raise BadJudge(f"a judge is asked 1 to {MOST_SAMPLES} times for one answer")
    if kind == JudgeKind.WORLD and not project.world:
        raise BadJudge(f"project {project.slug} has no world whose preference could judge")
    if kind in (*WITH_WEIGHTS, JudgeKind.WORLD, JudgeKind.ENSEMBLE):
        order_policy = "random"  # they score each answer by itself, or have asked their members: no order matters
    with transaction.atomic():
        latest = Judge.objects.filter(project=project, name=name).aggregate(latest=Max("version"))["latest"] or 0
        return Judge.objects.create(
            project=project,
            name=name,
            version=latest + 1,
            kind=kind,
            order_policy=order_policy,
            endpoint=endpoint,
            checkpoint=checkpoint,
            template=template,
            criterion=criterion,
            mode=mode,
            options=options or {},
            is_simulated=is_simulated,
        )


def judge_retire(*, judge: Judge, now: datetime) -> None:
    """Take a judge out of the choices; what it said stays."""
    Judge.objects.filter(pk=judge.pk, retired_at=None).update(retired_at=now)


def judge_template(judge: Judge) -> str:
    """Return the text of the template that this judge is asked with."""
    return judge.template or built_in_template(judge.mode)


def built_in_template(mode: str) -> str:
    return template_text(load_template(BUILT_IN_OF_MODE[judge_mode(mode)]))


def orders_for(judge: Judge, comparison_id: int) -> tuple[Order, ...]:
    """Return the orders in which this judge is asked about a comparison."""
    return orders_to_ask(judge.order_policy, seed=0, comparison_id=str(comparison_id))  # type: ignore[arg-type]


def judging_run_create(
    *,
    project: Project,
    judge: Judge,
    comparison_ids: Sequence[int],
    seed: int = 0,
    purpose: str = "manual",
    started_by: User | None = None,
    follow_up_kind: str = "",
    follow_up_payload: dict[str, Any] | None = None,
    retry_states: Sequence[str] = (),
) -> JudgingRun:
    """Ask a judge about comparisons: make the run and enqueue its jobs. What it already said is not asked again.

    With `retry_states` it is asked again, once, where all that it said in an order is in one of these states: the new
    verdict is that order's next sample, and the old ones stay. Raises BadJudge.
    """
    if set(retry_states) - set(RETRIED_STATES):
        raise BadJudge(f"only verdicts in the states {', '.join(RETRIED_STATES)} are asked for again")
    if judge.project_id != project.pk:
        raise BadJudge(f"judge {judge.name!r} is not of project {project.slug}")
    if judge.kind == JudgeKind.IMPORTED:
        raise BadJudge(f"judge {judge.name!r} came with an import: its verdicts are there, but it can't be asked more")
    if not comparison_ids:
        raise BadJudge("there are no comparisons to judge: make some on the Samples page first")
    for chunk in chunks(comparison_ids, 500):
        known = Comparison.objects.filter(project=project, pk__in=chunk).count()
        if known != len(set(chunk)):
            raise BadJudge("some of the comparisons are not of this project")
    with transaction.atomic():
        run = JudgingRun.objects.create(
            project=project,
            judge=judge,
            comparison_ids=list(comparison_ids),
            seed=seed,
            purpose=purpose,
            retry_states=list(retry_states),
            started_by=started_by,
        )
        judging_run_enqueue(run=run, follow_up_kind=follow_up_kind, follow_up_payload=follow_up_payload)
    return run


def judge_queue(judge: Judge) -> str:
    """Return the queue whose workers can ask this judge: one with weights needs torch, alone or as a member."""
    members = Judge.objects.filter(pk__in=judge.options.get("members", ()))
    kinds = {judge.kind, *members.values_list("kind", flat=True)} if judge.kind == JudgeKind.ENSEMBLE else {judge.kind}
    return "gpu" if kinds.intersection(WITH_WEIGHTS) else "cpu"


def judging_run_enqueue(
    *, run: JudgingRun, follow_up_kind: str = "", follow_up_payload: dict[str, Any] | None = None
) -> JobGroup:
    """Enqueue the jobs of a run; again after a failure, only what is not done yet is tried again."""
    n = len(run.comparison_ids)
    with transaction.atomic():
        run.group = group_create(
            project=run.project,
            name=f"judging run {run.pk}",
            jobs=[
                JobSpec(
                    kind="judging.chunk",
                    queue=judge_queue(run.judge),
                    payload={"run": run.pk, "start": start, "stop": min(start + COMPARISONS_PER_JOB, n)},
                    title=f"Ask {run.judge.name}",
                    unique_key=f"judging:{run.pk}:{start}",
                )
                for start in range(0, n, COMPARISONS_PER_JOB)
            ],
            follow_up_kind=follow_up_kind,
            follow_up_payload=follow_up_payload,
            started_by=run.started_by,
        )
        run.save(update_fields=["group"])
    return run.group


def scoring_enqueue(
    *,
    judge: Judge,
    sampling_run: SamplingRun,
    follow_up_kind: str = "",
    follow_up_payload: dict[str, Any] | None = None,
) -> JobGroup:
    """Enqueue a score by this judge for every completion of a sampling run. Raises BadJudge for one without scores."""
    if not judge.gives_scores:
        raise BadJudge(f"judge {judge.name!r} compares answers but gives no scores")
    n = len(sampling_run.prompt_ids)
    return group_create(
        project=judge.project,
        name=f"scores of sampling run {sampling_run.pk}",
        jobs=[
            JobSpec(
                kind="scoring.chunk",
                queue=judge_queue(judge),
                payload={
                    "judge": judge.pk,
                    "run": sampling_run.pk,
                    "start": start,
                    "stop": min(start + PROMPTS_PER_JOB, n),
                },
                title=f"Score answers with {judge.name}",
                unique_key=f"scoring:{judge.pk}:{sampling_run.pk}:{start}",
            )
            for start in range(0, n, PROMPTS_PER_JOB)
        ],
        follow_up_kind=follow_up_kind,
        follow_up_payload=follow_up_payload,
    )


def verdicts_add(*, judge: Judge, run: JudgingRun | None, verdicts: Iterable[NewVerdict]) -> None:
    """Append verdicts; one that this judge already gave for the same comparison, order and sample is not doubled."""
    Verdict.objects.bulk_create(
        [
            Verdict(
                judge=judge,
                comparison_id=new.comparison_id,
                run=run,
                order=new.order,
                sample=new.sample,
                state=new.verdict.state,
                outcome=new.verdict.outcome or "",
                p_first=new.verdict.p_first,
                raw=new.verdict.raw,
                rationale=new.verdict.rationale,
                usage=new.verdict.usage,
                seconds=new.seconds,
                flags=list(new.verdict.flags),
            )
            for new in verdicts
        ],
        ignore_conflicts=True,
        batch_size=200,
    )


def scores_add(*, judge: Judge, scores: Iterable[NewScore], run: JudgingRun | None = None) -> None:
    """Append a judge's scores; one of the same completion and sample that is there already is not doubled."""
    Score.objects.bulk_create(
        [
            Score(
                judge=judge,
                completion_id=new.completion_id,
                sample=new.sample,
                run=run,
                state=new.state,
                value=new.value,
                raw=new.raw,
                rationale=new.rationale,
                usage=new.usage,
                seconds=new.seconds,
            )
            for new in scores
        ],
        ignore_conflicts=True,
        batch_size=200,
    )
