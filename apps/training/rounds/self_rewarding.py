"""Additions of a self-rewarding loop: a starting policy that learns to judge, judges that are its own policies, and
prompts that a policy writes.

The start (M1) is an ingredient, like a reward model: trained before round 0 is measured, on three kinds of rows, and
reused by the next loop that would train the same one. Its rows come from a job (`workers`): judge demonstrations are a
world's, or replies of the project's additive judges and ratings by its people.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from django.db import transaction
from django.db.models import Q, QuerySet

from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.judging.services import judge_create
from apps.labels.models import Judge, Rating, Score
from apps.labels.ratings import ratings_to_learn
from apps.labels.selectors import preferences
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.prompts.selectors import SELF_INSTRUCT, chosen_prompts
from apps.prompts.services import NewPrompt, prompts_add
from apps.training.changes import recipe_of
from apps.training.models import Loop, Round, TrainingRun
from apps.training.rounds.labels import reward_model_labels
from apps.training.sets.runs import training_run_create
from apps.training.sets.snapshots import LabelledComparison, NothingToTrainOn, demonstrations, snapshot_create
from prefloop.judging.demonstrations import Judged, JudgeDemonstration, agreeing, thinned
from prefloop.judging.kinds import POLICY, names_where
from prefloop.judging.parse import parse_score
from prefloop.judging.rated import judgement_of, reasons_of, score_of_total
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.engines import AUTO
from prefloop.recipes.recipe import Objective, Recipe
from prefloop.recipes.self_instruct import Instructed, writing_rows
from prefloop.recipes.snapshots import Demonstration, encode_snapshot
from prefloop.rubrics import rubric_loaded
from prefloop.seeds import derive_seed, labeller_seed, shuffler_seed, trainer_seed
from prefloop.types import PromptContent

START_KIND = "sft"
START_JOB, WRITING_JOB = "self_rewarding.start", "self_rewarding.write"


# --- the start ------------------------------------------------------------------------------------------------------


def needs_start(loop: Loop, recipe: Recipe) -> bool:
    """Whether the loop must first teach its starting policy to judge: one that was already taught is used as it is."""
    return teaches(recipe) and loop.initial is not None and not is_taught(loop.initial)


def teaches(recipe: Recipe) -> bool:
    """Whether the starting policy is trained on judge demonstrations before the first round."""
    return recipe.score.by == "policy" and recipe.teach.eft > 0


def is_taught(checkpoint: Checkpoint) -> bool:
    """Whether a loop taught it to judge, or it is a result of a self-rewarding loop."""
    made = TrainingRun.objects.filter(output=checkpoint)
    return made.filter(
        Q(kind=START_KIND, round__index=0) | Q(round__index__gt=0, round__loop__config__score__by="policy")
    ).exists()


def start_run(round_: Round) -> TrainingRun | None:
    return TrainingRun.objects.filter(round=round_, kind=START_KIND).select_related("output").first()


def start_jobs(loop: Loop, round_: Round) -> JobGroup:
    return _one_job(loop, round_, START_JOB, "cpu", "Make the rows that the start learns to judge from")


def additive_scores(project: Project) -> QuerySet[Score]:
    """Return this project's readable judgements by language models on a scale from 0 to 5."""
    teachers = names_where(lambda kind: kind.teaches)
    return Score.objects.filter(
        judge__project=project, judge__kind__in=teachers, judge__mode="additive", state="ok", value__isnull=False
    )


def n_judged(project: Project) -> int:
    """Count what the project's judges and people have said of single answers that a policy could learn to say."""
    return additive_scores(project).count() + ratings_to_learn(project).count()


def stored_demonstrations(
    project: Project, ask: Callable[[str, str], PromptContent], n: int, *, seed: int
) -> list[JudgeDemonstration]:
    """Return at most n judge demonstrations of the project's own: what additive judges wrote about training answers,
    and what people said of them by a rubric.

    A judge's first readable judgements of both answers of a labelled comparison, and a person's ratings of both, are
    kept if their scores rank the two as the label does; over-represented scores are thinned out. `ask`: the prompt for
    a prompt and an answer.
    """
    labelled = (
        preferences()
        .filter(comparison__project=project, comparison__held_out=False, comparison__prompt__split="train")
        .exclude(outcome="inconsistent")
    )
    said: dict[int, dict[int, Score]] = {}  # of a completion, by judge: the first that could be read
    for score in additive_scores(project).order_by("-sample", "id"):
        if parse_score(score.raw).value == score.value:
            said.setdefault(score.completion_id, {})[score.judge_id] = score
    rated: dict[int, dict[str, Rating]] = {}  # of a completion, by rater
    for rating in ratings_to_learn(project).order_by("id"):
        rated.setdefault(rating.completion_id, {})[rating.rater] = rating
    pairs: list[Judged] = []
    for label in labelled.select_related("comparison__prompt", "comparison__first", "comparison__second").order_by(
        "comparison_id"
    ):
        row = label.comparison
        first, second = (said.get(answer.pk, {}) for answer in (row.first, row.second))
        for judge_id in sorted(first.keys() & second.keys()):
            one, other = (
                JudgeDemonstration(
                    id=f"score:{score.pk}",
                    prompt=ask(row.prompt.text, answer.text),
                    text=score.raw,
                    score=int(score.value or 0),
                )
                for score, answer in ((first[judge_id], row.first), (second[judge_id], row.second))
            )
            pairs.append((one, other, label.outcome))  # type: ignore[arg-type]
        theirs, others = rated.get(row.first_id, {}), rated.get(row.second_id, {})
        for rater in sorted(theirs.keys() & others.keys()):
            first_said = _rated(theirs[rater], ask(row.prompt.text, row.first.text))
            second_said = _rated(others[rater], ask(row.prompt.text, row.second.text))
            pairs.append((first_said, second_said, label.outcome))  # type: ignore[arg-type]
    return thinned(agreeing(pairs), n, seed=seed)


def _rated(rating: Rating, prompt: PromptContent) -> JudgeDemonstration:
    """A person's rating as a judgement that a policy can learn to write."""
    score = score_of_total(rating.total or 0.0)
    text = judgement_of(reasons_of(rubric_loaded(rating.rubric), rating.values, rating.reason), score)
    return JudgeDemonstration(id=f"rating:{rating.pk}", prompt=prompt, text=text, score=score)


def start_rows(
    loop: Loop, recipe: Recipe, judged: Sequence[JudgeDemonstration]
) -> tuple[list[Demonstration], list[LabelledComparison], Counter[str]]:
    """Return the training rows of the start (chosen answers, judgements, prompts), the labels behind them, and
    counts.
    """
    start, teach = loop.initial, recipe.teach
    if start is None:
        raise NothingToTrainOn("the loop has no policy to start from")
    labels = reward_model_labels(loop, loop.rounds.get(index=0)) if teach.ift else []
    answers = demonstrations(labels, start)
    rng = random.Random(shuffler_seed(loop.seed, "ift"))
    chosen = [answers[at] for at in sorted(rng.sample(range(len(answers)), min(teach.ift, len(answers))))]
    given = list(chosen_prompts(loop.project, recipe.prompts, split="train").values_list("text", flat=True))
    written = writing_rows(given, teach.writing, seed=shuffler_seed(loop.seed, "writing")) if teach.writing else []
    rows = [
        *chosen,
        *(Demonstration(f"eft:{one.id}", one.prompt, one.text, source="eft") for one in judged),
        *(
            Demonstration(f"writing:{number}", asked, text, source="prompt-writing")
            for number, (asked, text) in enumerate(written)
        ),
    ]
    behind = {row.id for row in chosen}
    used = [label for label in labels if f"comparison:{label.comparison_id}" in behind]
    return rows, used, Counter({"ift": len(chosen), "eft": len(judged), "prompt-writing": len(written)})


def start_run_create(loop: Loop, round_: Round, judged: Sequence[JudgeDemonstration]) -> TrainingRun | None:
    """Make the training run of the start; None if an earlier loop made the same, which this one then uses.

    The same means: from the same rows, starting policy, numbers and seed. Raises NothingToTrainOn.
    """
    if not judged:
        raise NothingToTrainOn(
            "no judge demonstration agrees with a label: the start has nothing to learn to judge from"
        )
    recipe = recipe_of(loop, round_.index)
    rows, labels, sources = start_rows(loop, recipe, judged)
    objective, seed = start_objective(recipe), trainer_seed(loop.seed, "start")
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=loop.project_id)
        if (there := start_run(round_)) is not None:
            return there
        start = loop.initial
        if start is None:
            raise NothingToTrainOn("the loop has no policy to start from")
        digest = hashlib.sha256()
        for line in encode_snapshot(rows):
            digest.update(line)
        same = TrainingRun.objects.filter(
            kind=START_KIND, start=start, snapshot__sha256=digest.hexdigest(), output__isnull=False, round__index=0
        ).select_related("output")
        for run in same.order_by("id"):
            if run.output is not None and run.spec == {"objective": asdict(objective), "seed": seed}:
                start_adopt(loop, run.output)
                return None
        snapshot = snapshot_create(
            project=loop.project,
            name=f"loop-{loop.pk}-start",
            labels=labels,
            start=start,
            rows=rows,
            sources=sources,
            label_policy={"recipe": loop.recipe, "teach": asdict(recipe.teach)},
        )
        return training_run_create(
            project=loop.project,
            round_=round_,
            kind=START_KIND,
            snapshot=snapshot,
            start=start,
            reference=None,
            objective=objective,
            adapter=recipe.adapter,
            seed=seed,
        )


def start_objective(recipe: Recipe) -> Objective:
    """How the start is trained: like the recipe `sft`, with the numbers of `teach`."""
    teach = recipe.teach
    return replace(get_recipe("sft").objective, lr=teach.lr, epochs=teach.epochs, batch=teach.batch, schedule="linear")


def start_adopt(loop: Loop, made: Checkpoint) -> None:
    """Start the loop with this policy: it is measured as round 0, and `initial` means it."""
    with transaction.atomic():
        Loop.objects.filter(pk=loop.pk).update(initial=made)
        Round.objects.filter(loop=loop, index=0).update(policy=made, output=made)


# --- the judges -----------------------------------------------------------------------------------------------------


def own_judge(loop: Loop, recipe: Recipe, policy: Checkpoint) -> Judge:
    """Return the judge for this policy of the loop: M1 is its version 1, M2 its version 2."""
    draw = recipe.draws[0]
    options = {
        "samples": recipe.score.samples,
        "temperature": draw.temperature,
        "top_p": draw.top_p,
        "max_tokens": draw.max_tokens,
        "seed": labeller_seed(loop.seed, "own-scores"),
        **({} if recipe.engine == AUTO else {"engine": recipe.engine}),
    }
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=loop.project_id)
        name = f"{loop.recipe}-{loop.pk}"
        # asked as the recipe asks now: where people changed that, the same policy is another version
        same = Judge.objects.filter(project=loop.project, name=name, checkpoint=policy)
        found = next((judge for judge in same.order_by("-version") if judge.options == options), None)
        return found or judge_create(
            project=loop.project,
            name=name,
            kind=POLICY.name,
            checkpoint=policy,
            mode="additive",
            criterion=loop.project.criterion,
            options=options,
        )


# --- the prompts ----------------------------------------------------------------------------------------------------


def writing_jobs(loop: Loop, round_: Round) -> JobGroup:
    return _one_job(loop, round_, WRITING_JOB, "gpu", f"Write prompts for round {round_.index}")


def written_before(round_: Round) -> list[Prompt]:
    """Return the prompts that were written for earlier rounds, in order."""
    earlier = Round.objects.filter(loop_id=round_.loop_id, index__gt=0, index__lt=round_.index).order_by("index")
    ids = [pk for row in earlier for pk in row.written.get("prompt_ids", [])]
    rows = Prompt.objects.in_bulk(ids)
    return [rows[pk] for pk in ids]


def prompts_written(round_: Round, found: Instructed, *, n_candidates: int, writer: Checkpoint) -> None:
    """Store the round's new prompts with their origin. Raises NothingToTrainOn if there are none.

    A prompt's id depends on its text: a loop with the same seed writes the same prompts, and they are stored once.
    """
    if not found.kept:
        refused = ", ".join(f"{n} {name}" for name, n in found.n_refused.items() if n)
        raise NothingToTrainOn(
            f"{writer.name} wrote no new prompt in {n_candidates} attempts ({refused}): raise prompts.most_alike or "
            "prompts.temperature, or name another prompts.writer"
        )
    project = round_.loop.project
    made = {text: f"{SELF_INSTRUCT}-{derive_seed(0, text):016x}" for text in found.kept}
    origin = {"origin": SELF_INSTRUCT, "writer": writer.name, "loop": round_.loop_id, "round": round_.index}
    with transaction.atomic():
        prompts_add(
            project=project,
            set_name=SELF_INSTRUCT,
            prompts=[NewPrompt(text=text, external_id=key, metadata=origin) for text, key in made.items()],
        )
        ids = dict(
            Prompt.objects.filter(project=project, external_id__in=list(made.values())).values_list("external_id", "id")
        )
        written = {
            "prompt_ids": [ids[key] for key in made.values()],
            "n_candidates": n_candidates,
            "n_refused": dict(found.n_refused),
        }
        Round.objects.filter(pk=round_.pk).update(written=written)


def _one_job(loop: Loop, round_: Round, kind: str, queue: str, title: str) -> JobGroup:
    return group_create(
        project=loop.project,
        name=f"{title} (loop {loop.pk})",
        jobs=[
            JobSpec(kind=kind, queue=queue, payload={"round": round_.pk}, title=title, unique_key=f"{kind}:{round_.pk}")
        ],
        follow_up_kind="rounds.advance",
        follow_up_payload={"loop": loop.pk},
    )
