"""Comparing two checkpoints: both answer the same held-out prompts, and a judge or people compare the answers, blind.

The verdicts count on the leaderboard like other games. They are never trained on.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction
from django.db.models import Max

from apps.accounts.models import User
from apps.core.services import audit
from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.judging.selectors import judge_by_name
from apps.judging.services import judging_run_create
from apps.labels.models import Judge, JudgingRun
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.prompts.selectors import given_prompts
from apps.samples.models import SamplingRun
from apps.samples.services import EVALUATION
from apps.training.models import Snapshot
from apps.training.rounds.evaluation import compared, games_of, people_choose, people_weights, to_ask
from apps.training.rounds.evaluators import judges_among, measurers, why_not
from prefloop.seeds import derive_seed
from prefloop.stats.head_to_head import HeadToHead, head_to_head
from prefloop.types import PrefloopError

MEETING = "evaluation.meeting"  # the job
MOST_PROMPTS, MOST_ANSWERS = 10_000, 16
MAX_TOKENS = 128  # of answers where neither was ever measured


class MeetingRefused(PrefloopError):
    """Two checkpoints that can't be compared, with the reason."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Which checkpoints are compared on which prompts, with how many answers each; `judge` None: only people
    compare.
    """

    first: int
    second: int
    prompts: list[int]
    n: int
    max_tokens: int
    judge: int | None
    people: int
    seed: int


def meeting_start(
    *,
    project: Project,
    first: Checkpoint,
    second: Checkpoint,
    n_prompts: int,
    n: int = 2,
    judge: str = "",
    people: int = 0,
    seed: int = 0,
    started_by: User | None = None,
) -> JobGroup:
    """Have two policies answer `n_prompts` held-out prompts (0: all) n times each, and the answers compared.

    `judge`: by name; empty takes one that labelled the training data of neither. `people`: number of pairs for people
    in Annotate. Raises MeetingRefused, NoJudge.
    """
    for one in (first, second):
        if one.project_id != project.pk or one.role != "policy":
            raise MeetingRefused(f"{one.name!r} is not a policy of project {project.slug}")
    if first == second:
        raise MeetingRefused("choose two different checkpoints")
    if not 0 <= n_prompts <= MOST_PROMPTS:
        raise MeetingRefused(f"the number of prompts must be between 0 (all) and {MOST_PROMPTS:,}, not {n_prompts}")
    if not 2 <= n <= MOST_ANSWERS:
        raise MeetingRefused(f"answers each must be between 2 and {MOST_ANSWERS}, not {n}")
    if people < 0:
        raise MeetingRefused(f"the number of pairs for people must be 0 or more, not {people}")
    there = list(given_prompts(project, split="eval").values_list("id", flat=True))
    if not there:
        raise MeetingRefused("the project has no held-out prompts to compare on: import some with the split eval")
    asked = judge_by_name(project, judge) if judge else meeting_judge(project, first, second)
    if asked is not None and (why := why_not(asked)):
        raise MeetingRefused(why)
    if asked is None and not people:
        raise MeetingRefused("no judge of the project can compare answers: make one, or give some pairs to people")
    # one order of the prompts for everybody: whoever meets on 20 prompts meets on the same ones
    random.Random(derive_seed(seed, "meeting")).shuffle(there)
    chosen = sorted(there[:n_prompts] if n_prompts else there)
    meeting = Meeting(
        first.pk, second.pk, chosen, n, _max_tokens(first, second), asked.pk if asked else None, people, seed
    )
    title = f"Compare {first.name} with {second.name} on {len(chosen)} prompts"
    with transaction.atomic():
        audit(actor=started_by, verb="compared checkpoints", target=f"{first.name}, {second.name}", project=project)
        return group_create(
            project=project,
            name=title,
            jobs=[JobSpec(kind=MEETING, queue="gpu", payload=asdict(meeting), title=title)],
            started_by=started_by,
        )


def meeting_judge(project: Project, first: Checkpoint, second: Checkpoint) -> Judge | None:
    """Return a judge that did not label the training data of either; else any that can be asked."""
    sets = Snapshot.objects.filter(training_runs__round__loop__rounds__output__in=[first, second]).distinct()
    labellers = {name for sources in sets.values_list("sources", flat=True) for name in judges_among(sources)}
    found = measurers(project, but=labellers) or measurers(project)
    return found[0] if found else None


def meeting_asks(
    *, project: Project, meeting: Meeting, ours: SamplingRun, theirs: SamplingRun, pairs: list[tuple[int, int]]
) -> dict[str, Any]:
    """Make the comparisons of both checkpoints' answers, and run the judge or ask people; returns what `games_of`
    reads.
    """
    judge = Judge.objects.get(pk=meeting.judge) if meeting.judge is not None else None
    rows = compared(ours, theirs, pairs, origin=EVALUATION)
    told: dict[str, Any] = {"judge": meeting.judge, "answers": ours.pk, "initial": sorted(row.pk for row in rows)}
    if meeting.people:
        told["people"] = people_choose(rows, meeting.people, seed=derive_seed(meeting.seed, "meeting", "people"))
        told["criteria"] = people_weights(project, wanted={"": 1.0}, judge=judge)
    ids = to_ask(told)
    if judge is not None and ids:
        run = judging_run_create(project=project, judge=judge, comparison_ids=ids, purpose=EVALUATION)
        told["judging_run"] = run.pk
    return told


def meeting_group(told: dict[str, Any]) -> JobGroup | None:
    """The jobs that run the judge; None if it has nothing to judge."""
    if told.get("judging_run") is None:
        return None
    return JudgingRun.objects.select_related("group").get(pk=told["judging_run"]).group


def meeting_result(told: dict[str, Any]) -> HeadToHead:
    """How often the first one's answers were better, according to the judge."""
    return head_to_head(games_of(told, "initial"))


def _max_tokens(first: Checkpoint, second: Checkpoint) -> int:
    """The larger length limit of the two evaluations."""
    runs = SamplingRun.objects.filter(checkpoint__in=[first, second], purpose=EVALUATION)
    return int(runs.aggregate(most=Max("max_tokens"))["most"] or MAX_TOKENS)
