"""Every vote that is still wanted becomes a free seat, and what was counted for each page is counted once, here.

A lease whose holder was shown a label of the pair is no lease any more: it ends. Again changes nothing.
"""

from collections import Counter

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Exists, OuterRef, Q

BATCH = 2000
OUTCOMES = ("first", "second", "tie", "both_bad")
N_RECENT = 20


def fill(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    seen = apps.get_model("samples", "Exposure").objects.filter(user=OuterRef("user"), comparison=OuterRef("comparison"))
    seats = apps.get_model("rankings", "Assignment").objects
    seats.filter(Exists(seen), state="open").update(state="expired")
    for project in apps.get_model("projects", "Project").objects.order_by("pk"):
        rows = apps.get_model("samples", "Comparison").objects.filter(project=project)
        counts: dict[int | None, Counter[str]] = {}
        last = 0
        while ids := list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
            last = ids[-1]
            open_ = seats_of(apps, project, rows.filter(pk__gte=ids[0], pk__lte=last))
            add_counts(apps, ids[0], last, project.pk, open_, counts)
        place(apps, project, counts)


def seats_of(apps, project, rows):
    """Make the free seats of these comparisons; returns those that have one."""
    seat, vote = apps.get_model("rankings", "Assignment"), apps.get_model("rankings", "Vote")
    for_people = rows.filter(Q(batch=None) | Q(batch__ready=True), same_answers=False, for_people=True)
    here = Q(comparison__in=for_people.values("pk"))
    said = vote.objects.filter(here, superseded_by=None, adjudication=False, choice__in=OUTCOMES).values("comparison").order_by()
    n_said = dict(said.annotate(n=Count("pk")).values_list("comparison", "n"))
    taken = seat.objects.filter(here, state__in=("open", "free")).values("comparison").order_by()
    n_taken = dict(taken.annotate(n=Count("pk")).values_list("comparison", "n"))
    new = [
        seat(
            project=project,
            comparison_id=pk,
            state="free",
            lease_until=None,
            priority=0 if origin.startswith("evaluation") else 1,
        )
        for pk, origin in for_people.order_by("pk").values_list("pk", "origin")
        for _ in range(project.votes_per_comparison - n_said.get(pk, 0) - n_taken.get(pk, 0))
    ]
    seat.objects.bulk_create(new, batch_size=500)
    return set(seat.objects.filter(here, state="free").values_list("comparison_id", flat=True))


def add_counts(apps, first, last, project, open_, counts):
    here = Q(comparison__gte=first, comparison__lte=last, comparison__project=project)
    votes = apps.get_model("rankings", "Vote").objects.filter(here, superseded_by=None, adjudication=False)
    answered = list(votes.exclude(choice="withdrawn").exclude(user=None).values_list("user_id", "comparison_id"))
    holds = apps.get_model("rankings", "Assignment").objects.filter(here, state="open")
    seen = apps.get_model("samples", "Exposure").objects.filter(here)
    met = {*answered, *holds.values_list("user_id", "comparison_id"), *seen.values_list("user_id", "comparison_id")}
    counts.setdefault(None, Counter())["n_open"] += len(open_)
    for user, _ in answered:
        counts.setdefault(user, Counter())["n_done"] += 1
    for user, comparison in met:
        counts.setdefault(user, Counter())["n_blocked"] += comparison in open_


def place(apps, project, counts):
    places = apps.get_model("rankings", "Place").objects
    votes = apps.get_model("rankings", "Vote").objects.filter(comparison__project=project, adjudication=False)
    for user, found in counts.items():
        last = votes.filter(user=user).order_by("-pk") if user else votes.none()
        said = list(last.values_list("rater", "seconds", "at", "created_at")[:N_RECENT])
        places.update_or_create(
            project=project,
            user_id=user,
            defaults={
                **{name: found[name] for name in ("n_open", "n_done", "n_blocked")},
                "rater": said[0][0] if said else "",
                "recent": [[seconds, (at or made).isoformat()] for _, seconds, at, made in said],
            },
        )


def empty(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("rankings", "Assignment").objects.filter(state="free").delete()


class Migration(migrations.Migration):
    dependencies = [("rankings", "0008_seats"), ("prompts", "0001_initial")]

    operations = [migrations.RunPython(fill, empty)]
