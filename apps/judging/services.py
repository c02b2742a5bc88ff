"""Judges and judging runs. A judge's settings never change: an edit makes the next version."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.jobs.bulk import BULK, in_bulk
from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.judging.gold import with_gold
from apps.judging.selectors import failed_only, unjudged
from apps.labels.models import Judge, JudgingPart, JudgingRun
from apps.labels.types import RETRIED_STATES
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.store import check_name
from apps.projects.models import Project
from apps.projects.services import criteria_know
from apps.samples.models import Comparison, SamplingRun
from apps.samples.selectors import comparison_list
from apps.samples.services import PROMPTS_PER_JOB
from prefloop.criteria import name_checked
from prefloop.judging.kinds import ASKING, SCORES, Joint, kind_of
from prefloop.judging.modes import MODES
from prefloop.judging.render import judge_mode, load_template, template_from_text, template_text
from prefloop.types import PrefloopError

COMPARISONS_PER_JOB = 256
COMPARISONS_IN_BULK = 16_384  # of a run that goes to the engines of a cluster
MAX_SEED = 2**62
LABELS = ("manual", "loop")  # purposes of runs whose verdicts become labels


class BadJudge(PrefloopError):
    """A judge that can't be made, or can't be asked."""


def judge_draft(
    *,
    project: Project,
    name: str,
    kind: str,
    order_policy: str = "both_agree",
    endpoint: Endpoint | None = None,
    checkpoint: Checkpoint | None = None,
    template: str = "",
    criterion: str = "",
    criterion_name: str = "",
    mode: str = "",
    options: dict[str, Any] | None = None,
    is_simulated: bool = False,
) -> Judge:
    """Give a judge that is not stored. Raises BadJudge, TemplateError."""
    declared = kind_of(kind)
    lack = declared.missing(
        weights=checkpoint.role if checkpoint is not None else None,
        has_endpoint=endpoint is not None,
        criterion=criterion,
        world=project.world,
        project=project.slug,
    )
    if lack:
        raise BadJudge(lack)
    if declared.modes:
        mode = judge_mode(mode or declared.modes[0])
        if template:
            template_from_text(template, name=name, mode=judge_mode(mode))
    try:
        options = declared.options(options or {}, mode)
    except PrefloopError as error:
        raise BadJudge(str(error)) from error
    if order_policy not in declared.order_policies(mode):
        order_policy = declared.order_policies(mode)[0]  # no answer is shown before another
    return Judge(
        project=project,
        name=name,
        kind=kind,
        order_policy=order_policy,
        endpoint=endpoint,
        checkpoint=checkpoint,
        template=template,
        criterion=criterion,
        criterion_name=criterion_name,
        mode=mode or "text",
        options=options,
        is_simulated=is_simulated,
    )


def judge_create(*, project: Project, name: str, criterion_name: str | None = None, **settings: Any) -> Judge:
    """Make a judge as `judge_draft` does, or the next version of the one that has this name.

    `criterion_name`: the named criterion that it judges by, which every version keeps. Raises BadJudge, TemplateError,
    BadCriterion.
    """
    with transaction.atomic():
        before = Judge.objects.filter(project=project, name=name).order_by("-version").first()
        known = name_checked(criterion_name or "") if before is None else before.criterion_name
        if criterion_name not in (None, known):
            by = f"the criterion {known!r}" if known else "no named criterion"
            raise BadJudge(f"judge {name!r} judges by {by}: give one that judges by another a name of its own")
        judge = judge_draft(project=project, name=check_name(name), criterion_name=known, **settings)
        judge.version = 1 if before is None else before.version + 1
        judge.save()
        if known:
            criteria_know(project=project, label_judges={known: ""})
    return judge


def judge_retire(*, judge: Judge, now: datetime) -> None:
    """Retire a judge, so that it can't be chosen; its verdicts stay."""
    Judge.objects.filter(pk=judge.pk, retired_at=None).update(retired_at=now)


def judge_template(judge: Judge) -> str:
    """Return the text of the judge's template."""
    return judge.template or built_in_template(judge.mode)


def built_in_template(mode: str) -> str:
    return template_text(load_template(MODES[judge_mode(mode)].template))


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
    """Run a judge on comparisons: make the run and enqueue its jobs. Existing verdicts are not asked for again.

    Where it labels (rather than measures), the project's share of gold pairs that it was not asked about is mixed in;
    gold says nothing of a named criterion.

    With `retry_states` it is asked again, once, if all its verdicts in an order are in one of these states: the new
    verdict is that order's next sample, and the old ones stay. Raises BadJudge.
    """
    if set(retry_states) - set(RETRIED_STATES):
        raise BadJudge(f"only verdicts in the states {', '.join(RETRIED_STATES)} are asked for again")
    if judge.project_id != project.pk:
        raise BadJudge(f"judge {judge.name!r} is not of project {project.slug}")
    check_joint(judge, ASKING)
    if not comparison_ids:
        raise BadJudge("there are no comparisons to judge: make some on the Samples page first")
    for chunk in chunks(comparison_ids, 500):
        known = Comparison.objects.filter(project=project, pk__in=chunk).count()
        if known != len(set(chunk)):
            raise BadJudge("some of the comparisons are not of this project")
    if purpose in LABELS and not retry_states:
        share = 0 if judge.criterion_name else project.gold_share
        comparison_ids = with_gold(judge=judge, share=share, comparison_ids=comparison_ids, seed=seed)
    with transaction.atomic():
        run = JudgingRun.objects.create(
            project=project,
            judge=judge,
            n_comparisons=len(comparison_ids),
            seed=seed,
            purpose=purpose,
            retry_states=list(retry_states),
            started_by=started_by,
        )
        run_freeze(run, comparison_ids)
        judging_run_enqueue(run=run, follow_up_kind=follow_up_kind, follow_up_payload=follow_up_payload)
    return run


def run_freeze(run: JudgingRun, comparison_ids: Sequence[int]) -> None:
    """Write down what a new run asks about, in the parts that its jobs take."""
    judge = run.judge
    many = judge.declared.by_engines and not judge.gives_scores and in_bulk(run.n_comparisons)
    size = COMPARISONS_IN_BULK if many else COMPARISONS_PER_JOB
    parts = enumerate(chunks(comparison_ids, size))
    rows = (JudgingPart(run=run, start=at * size, ids=list(ids)) for at, ids in parts)
    JudgingPart.objects.bulk_create(rows, batch_size=500)


def judge_ask(
    *, judge: Judge, split: str = "", n: int | None = None, seed: int = 0, started_by: User | None = None
) -> JudgingRun:
    """Ask a judge about all comparisons that it has not judged, or n of them drawn by the seed. Raises BadJudge."""
    if judge.retired_at is not None:
        raise BadJudge(f"judge {judge.name!r} is retired and can't be run any more")
    ids = list(unjudged(judge, split=split).values_list("id", flat=True))
    if not ids and comparison_list(judge.project).exists():
        raise BadJudge(f"{judge.name} has judged all of these comparisons already")
    if n is not None and len(ids) > n:
        ids = sorted(Random(seed).sample(ids, n))
    return judging_run_create(project=judge.project, judge=judge, comparison_ids=ids, seed=seed, started_by=started_by)


def judge_retry(*, judge: Judge, started_by: User | None = None) -> JudgingRun:
    """Ask a judge again where it gave only errors and unreadable replies. Raises BadJudge."""
    ids = list(failed_only(judge).values_list("id", flat=True))
    if not ids:
        raise BadJudge(_("There are no failed comparisons to ask again."))
    return judging_run_create(
        project=judge.project,
        judge=judge,
        comparison_ids=ids,
        purpose="retry",
        started_by=started_by,
        retry_states=RETRIED_STATES,
    )


def check_joint(judge: Judge, joint: Joint) -> None:
    """Raise BadJudge if this judge can't be used at this joint."""
    if refused := judge.refusal(joint):
        raise BadJudge(refused)


def judge_queue(judge: Judge) -> str:
    """Return the queue whose workers can ask this judge: one with weights needs torch, alone or as a member."""
    members = Judge.objects.filter(pk__in=judge.options.get("members", ()))
    queues = {judge.declared.queue, *(member.declared.queue for member in members)}
    return "gpu" if "gpu" in queues else "cpu"


def judging_run_enqueue(
    *, run: JudgingRun, follow_up_kind: str = "", follow_up_payload: dict[str, Any] | None = None
) -> JobGroup:
    """Enqueue the jobs of a run, one for each part; after a failure, only unfinished work is tried again."""
    starts = list(JudgingPart.objects.filter(run=run).order_by("start").values_list("start", flat=True))
    stops = [*starts[1:], run.n_comparisons] if starts else []
    bulk = {BULK: True} if stops and stops[0] > COMPARISONS_PER_JOB else {}
    with transaction.atomic():
        run.group = group_create(
            project=run.project,
            name=f"judging run {run.pk}",
            jobs=[
                JobSpec(
                    kind="judging.chunk",
                    queue=judge_queue(run.judge),
                    payload={"run": run.pk, "start": start, "stop": stop, **bulk},
                    title=f"Ask {run.judge.name}",
                    unique_key=f"judging:{run.pk}:{start}",
                )
                for start, stop in zip(starts, stops, strict=True)
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
    """Enqueue a score by this judge for every completion of a sampling run. Raises BadJudge if it gives no scores."""
    check_joint(judge, SCORES)
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
        started_by=sampling_run.started_by,
    )
