"""The content of the overview: the loop with live numbers, three answers, and recent events."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from apps.accounts.models import User
from apps.core.acts import ACTS
from apps.core.counting import counts_of_added
from apps.core.models import AuditEvent
from apps.dashboard.demos import seed_states
from apps.events.audit_log import entries_of
from apps.jobs.models import Job
from apps.jobs.selectors import running_jobs
from apps.labels.effect import override_effect_kept
from apps.labels.models import Judge, ReviewCount, Vote
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, ready
from apps.rankings.models import Place
from apps.rankings.selectors import n_to_review, n_wanting, review_judge
from apps.samples.models import Comparison, Completion
from apps.training.lineage.selectors import Gate, gate_of, loop_rows
from apps.training.models import ACTIVE, Loop, LoopState, Round, Stage, TrainingRun
from apps.training.rounds.stages.base import Progress
from apps.training.rounds.stations import current_round, stations_of

STATION_OF_STAGE = {
    Stage.PREPARE: "training",
    Stage.SAMPLING: "samples",
    Stage.JUDGING: "judges",
    Stage.REVIEW: "people",
    Stage.SNAPSHOT: "training",
    Stage.TRAINING: "training",
    Stage.EVALUATION: "evaluation",
}


@dataclass(frozen=True, slots=True)
class Ring:
    """The six stations, and the active loop on them."""

    stations: list[dict[str, Any]]
    loop: Loop | None
    round: Round | None


def ring(project: Project, *, now: datetime) -> Ring:
    """Return the loop as a diagram: six stations with their numbers; the station of the newest active loop is lit."""
    loop = Loop.objects.filter(project=project, state__in=ACTIVE).select_related("project", "judge").last()
    round_ = current_round(loop) if loop is not None else None
    lit: dict[str, tuple[str, str, Progress | None]] = {}
    if loop is not None and round_ is not None:
        for station in stations_of(loop, round_, now):
            if station.is_lit:
                key = STATION_OF_STAGE[Stage(station.key)]
                lit[key] = (station.state, station.state_word, station.progress)
    counts = project_counts(project)
    prompts = counts.prompts
    n_judges = Judge.objects.filter(project=project, retired_at=None).values("name").distinct().count()
    reviewed = review_judge(project)
    n_overrides = override_effect_kept(reviewed).n_overridden if reviewed is not None else 0
    n_runs = TrainingRun.objects.filter(project=project, output__isnull=False).count()
    n_measured = Round.objects.filter(loop__project=project, stage=Stage.DONE).exclude(result={}).count()
    held_out = prompts.get("eval", 0)
    numbers: list[tuple[str, str, str, str, int, str, str]] = [
        ("prompts", _("Prompts"), "prompts", "prompts/", sum(prompts.values()), _("prompts"), _("%(n)s held out") % {
            "n": f"{held_out:,}"
        }),
        ("samples", _("Samples"), "samples", "samples/",
         counts.n_answers, _("answers"), ""),
        ("judges", _("Judges"), "judges", "judges/", counts.n_verdicts,
         _("verdicts"), ngettext("%(n)d judge", "%(n)d judges", n_judges) % {"n": n_judges}),
        ("people", _("People"), "people", "annotate/", counts.n_votes, _("votes"),
         ngettext("%(n)d override", "%(n)d overrides", n_overrides) % {"n": n_overrides}),
        ("training", _("Training"), "bolt", "loops/", n_runs, ngettext("run", "runs", n_runs), ""),
        ("evaluation", _("Evaluation"), "graph", "policies/", n_measured,
         ngettext("policy measured", "policies measured", n_measured), ""),
    ]  # fmt: skip
    stations = []
    for key, word, icon, path, n, unit, note in numbers:
        state, state_word, progress = lit.get(key, ("", "", None))
        if state and loop is not None and loop.state != LoopState.WAITING:
            path = f"loops/{loop.pk}/"
        if state == "waiting" and loop is not None and round_ is not None:
            gate = gate_of(loop, round_)
            path = review_path(gate) if gate is not None else path
        stations.append(
            {
                "key": key,
                "word": word,
                "icon": icon,
                "path": path,
                "n": n,
                "unit": unit,
                "note": note,
                "state": state,
                "state_word": state_word,
                "progress": progress,
            }
        )
    return Ring(stations, loop, round_)


@dataclass(frozen=True, slots=True)
class ProjectCounts:
    """What a project has. `prompts`: by split."""

    prompts: Counter[str]
    n_answers: int
    n_verdicts: int
    n_votes: int


def project_counts(project: Project) -> ProjectCounts:
    """Count prompts, answers, verdicts and votes, none of them twice."""
    importing = ImportBatch.objects.filter(project=project, ready=False).exists()

    def added(name: str, rows: QuerySet[Any], by: str) -> Counter[Any]:
        return counts_of_added(f"overview:{project.pk}:{name}", rows, by, settled=not importing)

    there = ready() if importing else Q()
    ours = Exists(Comparison.objects.filter(pk=OuterRef("comparison"), project=project))
    spoken = ReviewCount.objects.filter(judge__project=project).aggregate(n=Sum("n_verdicts"))
    # each line of votes begins once, whatever replaced its beginning later
    votes = added("votes", Vote.objects.filter(ours, supersedes__isnull=True), "adjudication")
    return ProjectCounts(
        prompts=added("prompts", Prompt.objects.filter(there, project=project), "split"),
        n_answers=added("answers", Completion.objects.filter(there, project=project), "project").total(),
        n_verdicts=spoken["n"] or 0,
        n_votes=votes.total(),
    )


def review_path(gate: Gate) -> str:
    """The address, below the project's, of what a round's gate asks people."""
    judge = f"&{urlencode({'judge': gate.judge})}" if gate.judge else ""
    return f"review/?round={gate.round_id}{judge}"


@dataclass(frozen=True, slots=True)
class Needs:
    """What needs a person now."""

    n_annotate: int
    n_review: int
    gates: list[tuple[Loop, Gate, str]]  # loops that wait, and where to answer them

    @property
    def nothing(self) -> bool:
        return not (self.n_annotate or self.n_review or self.gates)


def needs(project: Project, user: User, *, now: datetime, may_review: bool) -> Needs:
    gates = []
    if may_review:
        for loop in Loop.objects.filter(project=project, state=LoopState.WAITING).select_related("project", "judge"):
            gate = gate_of(loop, current_round(loop))
            if gate is not None and gate.n_left:
                gates.append((loop, gate, review_path(gate)))
    return Needs(
        n_annotate=n_wanting(project=project, user=user, now=now),
        n_review=n_to_review(project) if may_review else 0,
        gates=gates,
    )


@dataclass(frozen=True, slots=True)
class Better:
    """The loop with the best result, by the lower end of its last win rate's interval, so that luck counts for
    little.
    """

    loop: Loop
    rows: list[dict[str, Any]]  # those with a win rate and a KL, round 0 first
    best: dict[str, Any]
    answer: str  # yes | no | unclear


def better(project: Project) -> Better | None:
    found: list[tuple[float, Better]] = []
    for loop in Loop.objects.filter(project=project).exclude(recipe="reward-model").order_by("-id")[:50]:
        rows = [row for row in loop_rows(loop) if row["win_rate_vs_initial"] is not None and row["kl"] is not None]
        later = [row for row in rows if row["round"] > 0]
        if not later:
            continue
        best = max(later, key=_low)
        low, high = best["win_rate_ci95"] or (best["win_rate_vs_initial"],) * 2
        answer = "yes" if low > 0.5 else "no" if high < 0.5 else "unclear"
        found.append((low, Better(loop, rows, best, answer)))
    return max(found, key=lambda pair: (pair[0], pair[1].loop.pk))[1] if found else None


def _low(row: dict[str, Any]) -> float:
    return float((row["win_rate_ci95"] or [row["win_rate_vs_initial"]])[0])


@dataclass(frozen=True, slots=True)
class JobLine:
    """A running job. `left` in seconds, None if unknown."""

    job: Job
    left: float | None


def jobs_under_way(project: Project, *, now: datetime, limit: int = 5) -> list[JobLine]:
    rank = {"running": 0, "starting": 0, "cancelling": 0, "queued": 1}
    jobs = sorted(running_jobs(project)[:200], key=lambda job: (rank[job.state], job.pk))
    lines = []
    for job in jobs[:limit]:
        left = None
        if job.started_at and job.step and job.n_steps > job.step:
            left = (now - job.started_at).total_seconds() / job.step * (job.n_steps - job.step)
        lines.append(JobLine(job, left))
    return lines


@dataclass(frozen=True, slots=True)
class EventLine:
    at: datetime
    icon: str
    text: str
    path: str  # below the project, "" for none


# verb: icon, the words for n events of one person in a row; those for one are in apps/core/acts.py
_VERBS = {
    "loop started": ("play", ""),
    "loop paused": ("pause", ""),
    "loop changed": ("settings", ""),
    "loop cancelled": ("stop", ""),
    "loop resumed": ("retry", ""),
    "review gate left": ("skip", ""),
    "override.create": ("override", gettext_noop("corrected judges %(n)d times")),
    "override.withdraw": ("undo", gettext_noop("undid %(n)d corrections")),
    "adjudication.create": ("check", gettext_noop("decided %(n)d split pairs")),
    "adjudication.withdraw": ("undo", gettext_noop("undid %(n)d decisions")),
    "flag.resolve": ("flag", gettext_noop("resolved %(n)d flags")),
    "flag.reopen": ("flag", gettext_noop("opened %(n)d flags again")),
    "annotator.exclude": ("person", ""),
    "annotator.include": ("undo", ""),
    "data.import": ("upload", gettext_noop("imported %(n)d files")),
    "data.export": ("download", gettext_noop("exported labels %(n)d times")),
    "guideline.add": ("book", gettext_noop("wrote %(n)d new versions of the guidelines")),
    "member.add": ("person", gettext_noop("added %(n)d people")),
    "member.remove": ("person", gettext_noop("removed %(n)d people")),
    "member.role_change": ("shield", gettext_noop("changed the roles of %(n)d people")),
    "invitation.accept": ("mail", ""),
    "invitation.create": ("mail", gettext_noop("invited %(n)d people")),
    "invitation.revoke": ("mail", gettext_noop("revoked %(n)d invitations")),
    "project.create": ("folder", ""),
    "project.update": ("settings", gettext_noop("changed the project's settings %(n)d times")),
    "project.label_policy": ("settings", gettext_noop("changed the rules for labels %(n)d times")),
    "project.label_judge": ("judges", gettext_noop("chose the label judge %(n)d times")),
}
# the words for what the system did
_BY_THE_SYSTEM = {
    "member.add": (gettext_noop("A person was added"), gettext_noop("%(n)d people were added")),
    "data.import": (gettext_noop("A file was imported"), gettext_noop("%(n)d files were imported")),
}


def recent_events(project: Project, *, limit: int = 10) -> list[EventLine]:
    """Return what people did and how loops and imports ended, newest first; a person's repeated acts in one line."""
    lines: list[EventLine] = []
    rows = entries_of(project)[: limit * 20]
    runs: list[list[AuditEvent]] = []
    for row in rows:
        if runs and (runs[-1][0].verb, runs[-1][0].actor_id) == (row.verb, row.actor_id) and "." in row.verb:
            runs[-1].append(row)
        else:
            runs.append([row])
    for run in runs[:limit]:
        lines.append(_audited(run))
    ended = Loop.objects.filter(project=project, state__in=(LoopState.DONE, LoopState.FAILED), ended_at__isnull=False)
    for loop in ended.order_by("-ended_at")[:limit]:
        done = loop.state == LoopState.DONE
        text = (_("%(recipe)s, loop %(n)d, is done") if done else _("%(recipe)s, loop %(n)d, failed")) % {
            "recipe": loop.recipe,
            "n": loop.pk,
        }
        at = loop.ended_at or loop.created_at
        lines.append(EventLine(at, "circle-check" if done else "circle-cross", text, f"loops/{loop.pk}/"))
    for batch in ImportBatch.objects.filter(project=project, ready=True).order_by("-id")[:limit]:
        text = ngettext("%(n)s record imported from %(name)s", "%(n)s records imported from %(name)s", batch.n_records)
        text %= {"n": f"{batch.n_records:,}", "name": batch.name}
        lines.append(EventLine(batch.created_at, "data", text, "data/"))
    return sorted(lines, key=lambda line: line.at, reverse=True)[:limit]


def _audited(run: list[AuditEvent]) -> EventLine:
    newest, n = run[0], len(run)
    icon, many = _VERBS.get(newest.verb, ("circle", ""))
    one = str(ACTS.get(newest.verb, newest.verb))
    who = str(newest.actor) if newest.actor is not None else _("The system")
    if newest.actor is None and newest.verb in _BY_THE_SYSTEM:
        who, (one, many) = "", _BY_THE_SYSTEM[newest.verb]
    text = _(many if many and n > 1 else one)
    if "%(" in text:
        text %= {"target": newest.target, "n": n}
    if n > 1 and not many:
        text = f"{text} (× {n})"
    path = ""
    words_of_target = newest.target.split()
    if newest.target.startswith("loop ") and len(words_of_target) > 1 and words_of_target[1].isdigit():
        path = f"loops/{words_of_target[1]}/"
    elif newest.verb.startswith("override."):
        path = "review/?show=done"
    return EventLine(newest.created_at, icon, f"{who} {text}".strip(), path)


def version(project: Project, user: User) -> str:
    """A short hash of everything that the overview shows, which changes when any of it does. A few queries on
    indexes.
    """
    jobs = list(running_jobs(project).values_list("pk", "state", "step", "n_steps", "message")[:20])
    loops = list(Loop.objects.filter(project=project).order_by("-id").values_list("pk", "state")[:20])
    rounds = list(
        Round.objects.filter(loop__project=project).order_by("-id").values_list("pk", "stage", "group_id")[:20]
    )
    newest: list[Any] = [
        model.objects.filter(project=project).aggregate(last=Max("pk"))["last"]
        for model in (Prompt, Completion, ImportBatch, TrainingRun)
    ]
    # what verdicts, decisions and votes change
    newest += ReviewCount.objects.filter(judge__project=project).order_by("judge").values_list()
    newest += Place.objects.filter(project=project).order_by("pk").values_list("pk", "n_open", "n_done")
    newest.append(AuditEvent.objects.filter(project_slug=project.slug).aggregate(last=Max("pk"))["last"])
    seeds = seed_states(project)
    shown = repr([user.pk, jobs, loops, rounds, newest, seeds])
    return hashlib.blake2s(shown.encode(), digest_size=8).hexdigest()
