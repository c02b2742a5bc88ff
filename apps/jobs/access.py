"""Access to jobs. Absent and forbidden look the same: 404."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.http import Http404

from apps.jobs.models import Job
from apps.projects import access
from apps.projects.access import Person
from apps.projects.models import Membership, Project, Role


def job_for_read(user: Person, slug: str, job_id: int) -> tuple[Project, Job]:
    """Fetch a job of the project for leads and above, and for whoever started it, since it names models, judges and
    machines.
    """
    project = access.project_for(user, slug, Role.ANNOTATOR)
    job = Job.objects.select_related("group", "started_by", "parent").filter(project=project, pk=job_id).first()
    if job is None or not (job.started_by_id == user.pk or access.has_role(user, project, Role.LEAD)):
        raise Http404("no such job")
    return project, job


def job_for_write(user: Person, slug: str, job_id: int) -> tuple[Project, Job]:
    """Fetch a job that the user may cancel or retry: engineers, and whoever started it."""
    project, job = job_for_read(user, slug, job_id)
    if not may_write(user, project, job):
        raise Http404("no such job")
    return project, job


def may_write(user: Person, project: Project, job: Job) -> bool:
    return (job.started_by_id is not None and job.started_by_id == user.pk) or access.has_role(
        user, project, Role.ENGINEER
    )


def jobs_for(user: Person) -> QuerySet[Job]:
    """The jobs that the user may read: in projects where they are at least a lead, and their own."""
    if not user.is_authenticated or not user.is_active:
        return Job.objects.none()
    leading = Membership.objects.filter(user_id=user.pk).exclude(role=Role.ANNOTATOR).values("project")
    own = Q(started_by_id=user.pk, project__in=access.projects_for(user))
    return Job.objects.filter(Q(project__in=leading) | own)
