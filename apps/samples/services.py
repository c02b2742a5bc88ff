"""Sampling runs and comparisons."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.db import transaction

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.core.listeners import Listeners
from apps.jobs.bulk import BULK, in_bulk
from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.policies.models import Checkpoint, Endpoint
from apps.projects.models import Project
from apps.prompts.models import Prompt, PromptSet
from apps.quotas.services import ask
from apps.samples.models import EDIT, Comparison, Completion, Engine, SamplingRun
from prefloop.answers import same_answer
from prefloop.types import PrefloopError

PROMPTS_PER_JOB = 128
PROMPTS_IN_BULK = 4_096  # of a run that goes to the engines of a cluster
EVALUATION = "evaluation"  # how the origin of a comparison begins that was made to measure
APIS = ("chat", "completions")
ANSWERS_MADE: Listeners[[Project, Sequence[int]]] = Listeners()  # sampled by hand; with the ids of their prompts
COMPARISONS_MADE: Listeners[[Project, Sequence[int]]] = Listeners()  # with the ids; known ones may be among them


def answers_stored(run: SamplingRun, prompt_ids: Sequence[int]) -> None:
    """Tell whoever asks about single answers that a run has new ones; those of loops and evaluations are not asked."""
    if run.purpose == "manual" and prompt_ids:
        ANSWERS_MADE.tell(run.project, prompt_ids)


class BadSampling(PrefloopError):
    """A sampling run that can't be made."""


class BadComparison(PrefloopError):
    """Two completions that can't be compared."""


def sampling_run_create(
    *,
    project: Project,
    checkpoint: Checkpoint | None = None,
    endpoint: Endpoint | None = None,
    engine: str = "",
    api: str = "",
    prompt_ids: Sequence[int],
    n: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 128,
    seed: int = 0,
    purpose: str = "manual",
    prompt_set: PromptSet | None = None,
    started_by: User | None = None,
    follow_up_kind: str = "",
    follow_up_payload: dict[str, Any] | None = None,
) -> SamplingRun:
    """Make a run of n answers for each prompt and enqueue its jobs. Raises BadSampling and QuotaReached.

    A checkpoint is sampled by `engine` transformers (the default), vllm, or auto, which the worker chooses; an endpoint
    by `api` chat (the default) or completions.
    """
    engine = engine or (Engine.ENDPOINT if endpoint is not None else Engine.TRANSFORMERS)
    _check_source(project, checkpoint, endpoint, engine)
    if endpoint is not None:
        api = api or "chat"
        if api not in APIS:
            raise BadSampling(f"an endpoint is asked by {' or '.join(APIS)}, not by {api!r}")
        if top_k:
            raise BadSampling("an endpoint has no top-k: leave it at 0")
    if not prompt_ids:
        raise BadSampling("there are no prompts to answer: add some on the Prompts page, or choose another set")
    if not 1 <= n <= 1024:
        raise BadSampling(f"n must be between 1 and 1024, not {n}")
    if not 0 <= temperature <= 10:
        raise BadSampling(f"the temperature must be between 0 and 10, not {temperature}")
    if not 0 < top_p <= 1:
        raise BadSampling(f"top-p must be above 0 and at most 1, not {top_p}")
    if not 1 <= max_tokens <= 131072:
        raise BadSampling(f"the longest answer must be between 1 and 131072 tokens, not {max_tokens}")
    with transaction.atomic():
        room_for_answers(project, started_by, n=n * len(prompt_ids))
        run = SamplingRun.objects.create(
            project=project,
            checkpoint=checkpoint,
            endpoint=endpoint,
            engine=engine,
            api=api if endpoint is not None else "",
            prompt_set=prompt_set,
            prompt_ids=list(prompt_ids),
            n=n,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_tokens=max_tokens,
            seed=seed,
            purpose=purpose,
            started_by=started_by,
        )
        sampling_run_enqueue(run=run, follow_up_kind=follow_up_kind, follow_up_payload=follow_up_payload)
    return run


def room_for_answers(project: Project, started_by: User | None, *, n: int) -> None:
    """Ask for room for the answers of a run, all at once, and count them. Raises QuotaReached."""
    ask(project_id=project.pk, person_id=started_by.pk if started_by else None, samples=n)


def _check_source(project: Project, checkpoint: Checkpoint | None, endpoint: Endpoint | None, engine: str) -> None:
    if engine not in Engine.values:
        raise BadSampling(f"there is no engine {engine!r}; there are: {', '.join(Engine.values)}")
    if (checkpoint is None) == (endpoint is None):
        raise BadSampling("either a checkpoint or an endpoint answers: choose one of them")
    if (engine == Engine.ENDPOINT) != (endpoint is not None):
        wanted = "an endpoint" if engine == Engine.ENDPOINT else "a checkpoint"
        raise BadSampling(f"the engine {engine} needs {wanted}")
    if checkpoint is not None and (checkpoint.project_id != project.pk or checkpoint.role != "policy"):
        raise BadSampling(f"{checkpoint.name!r} is not a policy of project {project.slug}")
    if endpoint is not None and (endpoint.project_id != project.pk or endpoint.is_simulated):
        raise BadSampling(f"{endpoint.name!r} is not an endpoint of project {project.slug} that answers prompts")


def sampling_run_enqueue(
    *, run: SamplingRun, follow_up_kind: str = "", follow_up_payload: dict[str, Any] | None = None
) -> JobGroup:
    """Enqueue the jobs of a run; after a failure, only unfinished work is tried again."""
    kind, queue = ("sampling.endpoint", "cpu") if run.engine == Engine.ENDPOINT else ("sampling.chunk", "gpu")
    n = len(run.prompt_ids)
    many = run.engine in (Engine.AUTO, Engine.VLLM) and in_bulk(n * run.n)
    size, bulk = (PROMPTS_IN_BULK, {BULK: True}) if many else (PROMPTS_PER_JOB, {})
    with transaction.atomic():
        run.group = group_create(
            project=run.project,
            name=f"sampling run {run.pk}",
            jobs=[
                JobSpec(
                    kind=kind,
                    queue=queue,
                    payload={"run": run.pk, "start": start, "stop": min(start + size, n), **bulk},
                    title=f"Sample {run.n} answers of {run.source_name}",
                    unique_key=f"sampling:{run.pk}:{start}",
                )
                for start in range(0, n, size)
            ],
            follow_up_kind=follow_up_kind,
            follow_up_payload=follow_up_payload,
            started_by=run.started_by,
        )
        run.save(update_fields=["group"])
    return run.group


# What a judge compares only to score answers: no pair of a round, and nothing that is trained on by itself.
GAMES_ORIGIN = "loop:games:"


def comparisons_create(
    *, project: Project, pairs: Iterable[tuple[Completion, Completion]], origin: str
) -> list[Comparison]:
    """Make the comparisons of these pairs, in canonical order; an existing one is not made twice.

    A comparison on an evaluation prompt, or of an answer whose right rating is known, is held out; one made for an
    evaluation (`origin` begins with `EVALUATION`) is held out and not shown to people; nor is one of an edited answer
    (`EDIT`). One of equal answers is marked as such.
    Raises BadComparison for answers to different prompts.
    """
    measures = origin.startswith(EVALUATION)
    wanted: dict[tuple[int, int], Comparison] = {}
    for a, b in pairs:
        if a.prompt_id != b.prompt_id or a.pk == b.pk:
            raise BadComparison(f"completions {a.pk} and {b.pk} are not two answers to one prompt")
        first, second = (a, b) if a.pk < b.pk else (b, a)
        wanted[(first.pk, second.pk)] = Comparison(
            project=project,
            prompt_id=a.prompt_id,
            first=first,
            second=second,
            origin=origin,
            same_answers=same_answer(a.text, b.text),
            for_people=not measures and origin != EDIT,
        )
    prompt_ids = {comparison.prompt_id for comparison in wanted.values()}
    held_out: set[int] = set()
    known: set[int] = set()
    for chunk in chunks(sorted(prompt_ids), 500):
        held_out |= set(Prompt.objects.filter(pk__in=chunk, split="eval").values_list("pk", flat=True))
        known |= measured_answers(chunk)
    for (first_id, second_id), comparison in wanted.items():
        of_known = first_id in known or second_id in known
        comparison.held_out = measures or of_known or comparison.prompt_id in held_out
    made: list[Comparison] = []
    with transaction.atomic():
        Comparison.objects.bulk_create(wanted.values(), ignore_conflicts=True, batch_size=500)
        for keys in chunks(list(wanted), 200):
            rows = {
                (row.first_id, row.second_id): row
                for row in Comparison.objects.filter(first_id__in=[a for a, _ in keys]).select_related(None)
            }
            made += [rows[key] for key in keys]
        if not measures:
            COMPARISONS_MADE.tell(project, [row.pk for row in made])
    return made


def measured_answers(prompt_ids: Collection[int]) -> set[int]:
    """The answers to these prompts whose right rating is known."""
    return set(Completion.objects.filter(prompt__in=prompt_ids, gold_item__isnull=False).values_list("pk", flat=True))


def pairs_held_out(prompt_id: int) -> list[int]:
    """Hold out the pairs of a prompt that measure, and no others; returns those that changed.

    They are all of an evaluation prompt, those made to measure, gold pairs, pairs with an answer whose right rating is
    known, and those of an answer in one of these with its edit.
    """
    rows = Comparison.objects.filter(prompt=prompt_id)
    known = measured_answers([prompt_id])
    said = list(rows.order_by("second_id").values_list("pk", "first_id", "second_id", "origin", "gold", "held_out"))
    whole = Prompt.objects.filter(pk=prompt_id, split="eval").exists()
    wanted: dict[int, bool] = {}
    measured = set(known)
    for pk, first, second, origin, gold, _ in said:
        if origin != EDIT or gold:
            wanted[pk] = whole or bool(gold) or origin.startswith(EVALUATION) or first in known or second in known
            measured.update((first, second) if wanted[pk] else ())
    for pk, first, second, origin, gold, _ in said:
        if origin == EDIT and not gold:
            wanted[pk] = whole or first in measured
            measured.update((second,) if wanted[pk] else ())  # an edit of an edit comes after it
    changed = [(pk, wanted[pk]) for pk, *_, held_out in said if wanted[pk] != held_out]
    for pk, held_out in changed:
        rows.filter(pk=pk).update(held_out=held_out)
    return [pk for pk, _ in changed]
