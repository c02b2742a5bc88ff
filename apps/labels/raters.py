"""The names under which people's labels are stored. An account and an imported rater with one name are two people."""

from __future__ import annotations

from apps.accounts.models import User
from apps.labels.models import Vote
from apps.samples.models import Comparison


def rater_name(user: User, comparison: Comparison) -> str:
    """Return the name for this person's next label: the username, unless an import has a rater with that name.

    Majorities and agreement go by the name, so an account with the name of an imported rater must not take its place:
    it is called "ann (account)", and keeps that name in the project. Usernames have no spaces.
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
    """Whether an imported rater has this name: on this comparison, or `anywhere` in its project (asked once per
    person).
    """
    where = {"comparison__project": comparison.project_id} if anywhere else {"comparison": comparison}
    return Vote.objects.filter(rater=name, user__isnull=True, **where).exists()
