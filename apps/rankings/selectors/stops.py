"""Why a person is given no pairs now: the project or the person is paused, or the budget of labels is used."""

from __future__ import annotations

from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.projects.models import Project
from apps.rankings.models import Place
from apps.rankings.selectors.practice import must_practise
from apps.rankings.selectors.queue import held

NO_END = 2**31


def room(project: Project) -> int:
    """How many more pairs may be given now: none while the project is paused, and no more than its budget has left
    after those that people hold.
    """
    if project.pause:
        return 0
    if project.label_budget is None:
        return NO_END
    used = Place.objects.filter(project=project, user=None).values_list("n_labels", flat=True).first() or 0
    return project.label_budget - used - held(project).count()


def may_get(project: Project, user: User, place: Place) -> bool:
    """Whether this person may be given one more pair now."""
    return not place.pause and not must_practise(project, user, place) and room(project) > 0


def pause_of(project: Project, user: User) -> str:
    """Say why the project or this person is paused, or has to practise first; "" if neither."""
    mine = Place.objects.filter(project=project, user=user).first()
    if mine is not None and mine.pause and not project.pause:
        return mine.pause
    if not project.pause and must_practise(project, user, mine):
        if project.asks_ratings:
            return _("Rate the practice answers first: open Annotate.")
        return _("Answer the practice pairs first: open Annotate.")
    return project.pause


def stop_of(project: Project, user: User) -> str:
    """Say in one sentence why nothing is given to this person; "" if there is no such reason."""
    if paused := pause_of(project, user):
        return paused
    if project.label_budget is not None and room(project) <= 0:
        return _("The project has all the labels that it asked for, so no more pairs are given out.")
    return ""
