"""Access to loops, runs and snapshots."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.training.models import Loop, Round, Snapshot, Stage

Viewer = User | AnonymousUser


def loop_for_read(user: Viewer, slug: str, pk: int) -> Loop:
    return _loop(user, slug, pk, Role.LEAD)


def loop_for_write(user: Viewer, slug: str, pk: int) -> Loop:
    return _loop(user, slug, pk, Role.ENGINEER)


def loop_for_api(user: Viewer, pk: int, role: Role = Role.LEAD) -> Loop:
    """Fetch a loop by its id alone, as in the API's address."""
    found = Loop.objects.select_related("project").filter(pk=pk).first()
    if found is None:
        raise Http404
    project_for(user, found.project.slug, role)
    return found


def branch_for_read(user: Viewer, slug: str, text: str, recipe: str) -> Round | None:
    """Fetch the finished round from which a new loop of this recipe branches; "" names none."""
    if not text:
        return None
    project = project_for(user, slug, Role.LEAD)
    rows = Round.objects.filter(loop__project=project, loop__recipe=recipe, stage=Stage.DONE, output__role="policy")
    found = rows.filter(pk=int(text)).select_related("loop", "output").first() if _is_id(text) else None
    if found is None:
        raise Http404
    return found


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def snapshot_for_read(user: Viewer, slug: str, pk: int) -> Snapshot:
    project = project_for(user, slug, Role.LEAD)
    found = Snapshot.objects.filter(project=project, pk=pk).select_related("project").first()
    if found is None:
        raise Http404
    return found


def _loop(user: Viewer, slug: str, pk: int, role: Role) -> Loop:
    project = project_for(user, slug, role)
    found = Loop.objects.filter(project=project, pk=pk).select_related("project", "initial", "judge").first()
    if found is None:
        raise Http404
    return found
