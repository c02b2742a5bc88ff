"""Demo projects: making one, and how far its set-up is. The jobs are in the workers' handlers."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.accounts.models import User
from apps.jobs.models import Job
from apps.jobs.services import job_enqueue
from apps.projects.models import Guideline, Membership, Project, Role
from apps.projects.services import ProjectRefused
from prefloop.demos import Demo

SEED = "demo.seed"
COMPARE = "demo.seed.compare"
SECOND = "demo.seed.second"
FINISH = "demo.seed.finish"

# in the words of the panel
_STEPS = (
    gettext_noop("Make the policy"),
    gettext_noop("Let it answer"),
    gettext_noop("Pair the answers and ask the first judge"),
    gettext_noop("Ask the second judge"),
    gettext_noop("Derive the labels"),
)


def demo_project(demo: Demo, *, owner: User | None) -> Project:
    """Return the demo's project, created if it does not exist; `owner` becomes its owner.

    Raises ProjectRefused where another project has its address.
    """
    with transaction.atomic():
        project, created = Project.objects.get_or_create(
            slug=demo.world,
            defaults={
                "name": demo.title,
                "description": demo.about,
                "criterion": demo.criterion,
                "world": demo.world,
                "label_judge": demo.labels.name,
            },
        )
        if project.world != demo.world:
            raise ProjectRefused(f"A project that is not this demo has the address {demo.world!r}.")
        if created:
            Guideline.objects.create(project=project, version=1, text=demo.guidelines)
        if owner is not None:
            Membership.objects.get_or_create(project=project, user=owner, defaults={"role": Role.OWNER})
    return project


def demo_seed(demo: Demo, *, owner: User | None, seed: int = 0) -> Job:
    """Create the demo's project and enqueue the first job of its set-up; once. Raises ProjectRefused."""
    with transaction.atomic():
        project = demo_project(demo, owner=owner)
        return job_enqueue(
            kind=SEED,
            queue="gpu",
            payload={"project": project.pk, "seed": seed},
            project=project,
            title=f"Demo: make the policy {demo.policy}",
            unique_key=f"{SEED}:{project.pk}",
            started_by=owner,
        )


def demo_begin(demo: Demo, *, owner: User) -> Job:
    """Make a demo for this person, unless there is a project with its address. Raises ProjectRefused."""
    if Project.objects.filter(slug=demo.world).exists():
        raise ProjectRefused(_("There is a project with the address “%(slug)s” already.") % {"slug": demo.world})
    return demo_seed(demo, owner=owner)


def demo_is_seeded(demo: Demo) -> bool:
    return Job.objects.filter(project__slug=demo.world, kind=FINISH, state="succeeded").exists()


@dataclass(frozen=True, slots=True)
class SeedStep:
    word: str
    state: str  # done | running | failed | next


def seeding(project: Project) -> list[SeedStep]:
    """The steps of the demo's set-up while it runs (or after it failed); empty if there is none, or it is done."""
    states = dict(seed_states(project))
    if not states or states.get(FINISH) == "succeeded":
        return []
    done = [
        states.get(SEED) == "succeeded",
        COMPARE in states,
        states.get(COMPARE) == "succeeded" and SECOND in states,
        FINISH in states,
        False,
    ]
    failed = any(state in ("failed", "cancelled") for state in states.values())
    at = done.index(False)
    return [
        SeedStep(_(word), "done" if place < at else ("failed" if failed else "running") if place == at else "next")
        for place, word in enumerate(_STEPS)
    ]


def seed_states(project: Project) -> list[tuple[str, str]]:
    """Return the kind and state of each of the set-up's own jobs, in order."""
    seeds = Job.objects.filter(project=project, kind__startswith=SEED)
    return list(seeds.order_by("id").values_list("kind", "state"))
