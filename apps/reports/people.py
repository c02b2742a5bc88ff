"""Who labels in a project, how much and how well: the data of the leads' page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Max

from apps.core.kept_figures import cache
from apps.labels.columns import content_version
from apps.labels.crew import crew_columns
from apps.labels.exclusions import exclusions_of
from apps.labels.models import Exclusion, Override, Rating, Vote
from apps.labels.rated_gold import raters_of
from apps.projects.models import Project
from apps.reports.people_words import sentence_of
from prefloop.stats.annotators import share_of
from prefloop.stats.suspicions import Suspicion, crew_with_suspicions, rating_suspicions

KEPT_SECONDS = 3600
NOW = timedelta(minutes=10)  # who voted since then works now
RECENT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Person:
    """One line of the page: a person's figures, and what they did lately."""

    report: dict[str, Any]
    works_now: bool
    n_recent: int
    n_decisions: int
    last_at: datetime | None
    suspicions: tuple[Suspicion, ...]


@dataclass(frozen=True, slots=True)
class Rater:
    """One person's ratings of single answers. `gold`: how many of those of gold answers are right, with its interval;
    None where they rated none.
    """

    name: str
    n: int
    n_skipped: int
    gold: dict[str, Any] | None
    suspicions: tuple[Suspicion, ...] = ()


@dataclass(frozen=True, slots=True)
class Crew:
    people: list[Person]  # who voted
    raters: list[Rater]  # who rated
    suspicious: list[Suspicion]
    exclusions: list[Exclusion]
    n_now: int
    n_labels: int
    total_seconds: float | None
    version: str

    def as_json(self) -> dict[str, Any]:
        """Everything on the page, for programs."""
        return {
            "n_labels": self.n_labels,
            "n_now": self.n_now,
            "total_seconds": self.total_seconds,
            "people": [
                {
                    **person.report,
                    "works_now": person.works_now,
                    "n_recent": person.n_recent,
                    "n_decisions": person.n_decisions,
                    "suspicions": _told(person.suspicions),
                }
                for person in self.people
            ],
            "raters": [asdict(rater) | {"suspicions": _told(rater.suspicions)} for rater in self.raters],
            "exclusions": [
                {
                    "id": row.pk,
                    "rater": row.rater,
                    "since": row.since,
                    "reason": row.reason,
                    "by": row.by.username if row.by else "",
                    "at": row.created_at,
                    "lifted_at": row.lifted_at,
                    "lifted_by": row.lifted_by.username if row.lifted_by else "",
                }
                for row in self.exclusions
            ],
            "version": self.version,
        }


def crew_of(*, project: Project, now: datetime) -> Crew:
    """Describe the people of a project; their figures are cached until there is a new label."""
    last = Rating.objects.filter(completion__project=project).aggregate(last=Max("pk"))["last"]
    version = f"{content_version(project)}-{last or 0}"
    key = f"crew:{project.pk}:{version}"
    kept: tuple[list[dict[str, Any]], list[Suspicion], list[Rater]] | None = cache.get(key)
    if kept is None:
        found = crew_with_suspicions(crew_columns(project))
        kept = *found, _raters(project)
        cache.set(key, kept, KEPT_SECONDS)
    reports, of_votes, raters = kept
    suspicious = [*of_votes, *(one for rater in raters for one in rater.suspicions)]
    here = Vote.objects.filter(comparison__project=project, user__isnull=False, adjudication=False).order_by()
    recent = dict(here.filter(created_at__gte=now - RECENT).values_list("rater").annotate(n=Count("id")))
    latest = dict(here.filter(created_at__gte=now - RECENT).values_list("rater").annotate(at=Max("created_at")))
    decided = Override.objects.filter(comparison__project=project, superseded_by__isnull=True).order_by()
    decisions = dict(decided.exclude(kind="withdrawn").values_list("rater").annotate(n=Count("id")))
    people = [
        Person(
            report=report,
            works_now=report["name"] in latest and latest[report["name"]] >= now - NOW,
            n_recent=recent.get(report["name"], 0),
            n_decisions=decisions.get(report["name"], 0),
            last_at=None if report["last_at"] is None else datetime.fromtimestamp(report["last_at"], UTC),
            suspicions=tuple(one for one in of_votes if one.person == report["name"]),
        )
        for report in reports
    ]
    people.sort(key=lambda person: (-person.report["n"], person.report["name"]))
    times = [report["seconds"]["total"] for report in reports if report["seconds"]]
    return Crew(
        people=people,
        raters=raters,
        suspicious=suspicious,
        exclusions=exclusions_of(project),
        n_now=sum(person.works_now for person in people),
        n_labels=sum(report["n"] for report in reports),
        total_seconds=sum(times) if times else None,
        version=version,
    )


def _raters(project: Project) -> list[Rater]:
    counts = raters_of(project)
    gold = {one.name: share_of(one.k_gold, one.n_gold) for one in counts if one.n_gold}
    off = rating_suspicions(gold)
    return [
        Rater(one.name, one.n, one.n_skipped, gold.get(one.name), tuple(s for s in off if s.person == one.name))
        for one in counts
    ]


def _told(suspicions: Iterable[Suspicion]) -> list[dict[str, Any]]:
    return [{"kind": one.kind, "evidence": one.evidence, "sentence": sentence_of(one)} for one in suspicions]
