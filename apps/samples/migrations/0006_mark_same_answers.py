"""Mark the comparisons of equal answers that are there already. Again changes nothing."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.models import F


def mark(apps: Any, schema_editor: Any) -> None:
    comparison = apps.get_model("samples", "Comparison")
    same = comparison.objects.filter(same_answers=False, first__n_characters=F("second__n_characters"))
    ids = list(same.filter(first__text=F("second__text")).values_list("pk", flat=True))
    for start in range(0, len(ids), 500):
        comparison.objects.filter(pk__in=ids[start : start + 500]).update(same_answers=True)


class Migration(migrations.Migration):
    dependencies = [("samples", "0005_same_answers")]

    operations = [migrations.RunPython(mark, migrations.RunPython.noop)]
