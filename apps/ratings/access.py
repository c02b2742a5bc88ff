"""Access to ratings. Absent and forbidden look the same: 404."""

from __future__ import annotations

from django.http import Http404

from apps.accounts.models import User
from apps.projects import access
from apps.projects.access import Person
from apps.projects.models import Project, Role
from apps.prompts.models import ready
from apps.ratings.models import FREE, RatingSeat
from apps.samples.models import Completion


def person(user: Person) -> User:
    """The signed-in user; 404 for anybody else, though every page here asks for a sign-in first."""
    if not isinstance(user, User):
        raise Http404("no such page")
    return user


def project_for_rating(user: Person, slug: str) -> Project:
    return access.project_for(user, slug, Role.ANNOTATOR)


def answer_for_adjudication(user: Person, slug: str, answer_id: int) -> Completion:
    """An answer of a project in which the person is a lead or above."""
    rows = Completion.objects.filter(ready("prompt__"), project=access.project_for(user, slug, Role.LEAD), pk=answer_id)
    answer = rows.select_related("prompt", "project", "gold_item").defer("token_ids").first()
    if answer is None:
        raise Http404("no such answer")
    return answer


def seat_for_write(user: Person, seat_id: int, slug: str | None = None) -> RatingSeat:
    """A person's own seat in a project they still belong to."""
    holder = person(user)
    rows = RatingSeat.objects.filter(pk=seat_id, user=holder, project__memberships__user=holder).exclude(state=FREE)
    rows = rows.select_related("completion__prompt", "project", "user")
    if slug is not None:
        rows = rows.filter(project__slug=slug)
    seat = rows.first() if holder.is_active else None
    if seat is None:
        raise Http404("no such seat")
    return seat
