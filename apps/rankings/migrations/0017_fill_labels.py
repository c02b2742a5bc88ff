"""Count the labels that people have given: standing blind answers other than skips."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.models import Count


def fill(apps: Any, _editor: Any) -> None:
    Vote, Place = apps.get_model("rankings", "Vote"), apps.get_model("rankings", "Place")
    standing = Vote.objects.filter(superseded_by__isnull=True, adjudication=False, user__isnull=False)
    said = standing.exclude(choice__in=["withdrawn", "skip"]).order_by()
    total: dict[int, int] = {}
    rows = said.values_list("comparison__project", "user").annotate(n=Count("pk"))
    for project, user, n in rows:
        total[project] = total.get(project, 0) + n
        Place.objects.filter(project=project, user=user).update(n_labels=n)
    for project, n in total.items():
        Place.objects.filter(project=project, user=None).update(n_labels=n)


class Migration(migrations.Migration):
    dependencies = [("rankings", "0016_labels_and_pause")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
