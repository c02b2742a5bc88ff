"""The only way from a person to a job. Absent and forbidden look the same: 404."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import Http404

from apps.jobs.models import Job
from apps.projects import access
from apps.projects.access import Person
from apps.projects.models import Project, Role


def job_for_read(user: Person, slug: str, job_id: int) -> tuple[Project, Job]:
    """A job of a project that the person belongs to."""
    project = access.project_for(user, slug, Role.ANNOTATOR)
    job = Job.objects.select_related("group", "started_by", "parent").filter(project=project, pk=job_id).first()
    if job is None:
        raise Http404("no such job")
    return project, job


def job_for_write(user: Person, slug: str, job_id: int) -> tuple[Project, Job]:
    """A job that the person may cancel or try again: an engineer's right, and that of who started it."""
    project, job = job_for_read(user, slug, job_id)
    if not may_write(user, project, job):
        raise Http404("no such job")
    return project, job


def may_write(user: Person, project: Project, job: Job) -> bool:
    return (job.started_by_id is not None and job.started_by_id == user.pk) or access.has_role(
        user, project, Role.ENGINEER
    )


def jobs_for(user: Person) -> QuerySet[Job]:
    """The jobs of every project that the person belongs to."""
    return Job.objects.filter(project__in=access.projects_for(user))
