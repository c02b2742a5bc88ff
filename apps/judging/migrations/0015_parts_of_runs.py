from django.db import migrations, models

PART = 256  # comparisons of a job


def split(apps, schema_editor):
    """Put each run's comparisons into the parts that its jobs take, also of those that still wait."""
    run_model, part_model = apps.get_model("judging", "JudgingRun"), apps.get_model("judging", "JudgingPart")
    for run in run_model.objects.order_by("pk").iterator(chunk_size=1):
        ids = run.comparison_ids
        rows = (part_model(run=run, start=at, ids=ids[at : at + PART]) for at in range(0, len(ids), PART))
        part_model.objects.bulk_create(rows, batch_size=500)
        run_model.objects.filter(pk=run.pk).update(n_comparisons=len(ids))


def join(apps, schema_editor):
    run_model = apps.get_model("judging", "JudgingRun")
    for run in run_model.objects.order_by("pk").iterator(chunk_size=1):
        run.comparison_ids = [pk for part in run.parts.order_by("start") for pk in part.ids]
        run.save(update_fields=["comparison_ids"])


class Migration(migrations.Migration):

    dependencies = [
        ("judging", "0014_criteria_of_judges"),
    ]

    operations = [
        migrations.AddField(
            model_name="judgingrun",
            name="n_comparisons",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.CreateModel(
            name="JudgingPart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("start", models.PositiveIntegerField()),
                ("ids", models.JSONField()),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=models.deletion.CASCADE,
                        related_name="parts",
                        to="judging.judgingrun",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("run", "start"), name="judging_part_once")],
            },
        ),
        migrations.RunPython(split, join),
    ]
