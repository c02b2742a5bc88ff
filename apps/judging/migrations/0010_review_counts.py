"""What waits for a review is kept for each judge; for what is there it is counted once, here."""

import django.db.models.deletion
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import Coalesce


def count(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    override = apps.get_model("rankings", "Override")
    excluded = apps.get_model("labels", "Exclusion").objects.filter(
        Q(since=None) | Q(since__lte=Coalesce(OuterRef("at"), OuterRef("created_at"))),
        project=OuterRef("comparison__project"),
        rater=OuterRef("rater"),
        lifted_at=None,
    )
    decided = override.objects.filter(~Exists(excluded), comparison=OuterRef("comparison"), superseded_by=None)
    decided = decided.exclude(kind="withdrawn")
    there = Q(comparison__batch=None) | Q(comparison__batch__ready=True)
    said = apps.get_model("judging", "Verdict").objects.filter(there).order_by().values("judge")
    waits = said.filter(~Exists(decided), comparison__held_out=False, comparison__same_answers=False)
    n_waits = dict(waits.annotate(n=Count("comparison", distinct=True)).values_list("judge", "n"))
    counts = apps.get_model("judging", "ReviewCount").objects
    for judge, n in said.annotate(n=Count("pk")).values_list("judge", "n"):
        counts.update_or_create(judge_id=judge, defaults={"n_verdicts": n, "n_to_review": n_waits.get(judge, 0)})


class Migration(migrations.Migration):
    dependencies = [
        ("judging", "0009_flags_of_answers"),
        ("labels", "0001_exclusions"),
        ("rankings", "0009_fill_seats"),
        ("samples", "0009_evaluation_pairs"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReviewCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("n_verdicts", models.IntegerField(default=0)),
                ("n_to_review", models.IntegerField(default=0)),
                (
                    "judge",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="review_count", to="judging.judge"
                    ),
                ),
            ],
        ),
        migrations.RunPython(count, migrations.RunPython.noop),
    ]
