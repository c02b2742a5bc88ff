"""Under which name a person's labels stand. An account and an imported rater of one name are two people."""

from __future__ import annotations

from apps.accounts.models import User
from apps.labels.models import Vote
from apps.samples.models import Comparison


def rater_name(user: User, comparison: Comparison) -> str:
    """Give the name that this person's next label bears: the username, where no import brought that name along.

    Majorities and agreement go by the name, so an account that is called like an imported rater must not stand in its
    place: it is "ann (account)" then, and keeps that name in the project. No username holds a space.
    """
    mine = Vote.objects.filter(user=user, comparison__project=comparison.project_id).order_by("-id")
    last = mine.values_list("rater", flat=True).first()
    name = last or user.username
    n = 1
    while _is_imported(name, comparison, anywhere=last is None or name != last):
        name = f"{user.username} (account{f' {n}' if n > 1 else ''})"
        n += 1
    return name


def _is_imported(name: str, comparison: Comparison, *, anywhere: bool) -> bool:
    """Whether an imported rater has this name: on this comparison, or `anywhere` in its project (once a person)."""
    where = {"comparison__project": comparison.project_id} if anywhere else {"comparison": comparison}
    return Vote.objects.filter(rater=name, user__isnull=True, **where).exists()
