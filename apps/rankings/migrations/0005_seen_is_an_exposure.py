"""A pair that somebody has seen a label of is an exposure now, no longer an assignment in the state `seen`.

Whoever decided on a judge's label has seen it too. Idempotent: what is recorded already stays as it is.
"""

from django.db import migrations, models

BATCH = 2000


def carry_over(apps, schema_editor):
    Assignment = apps.get_model("rankings", "Assignment")
    Override = apps.get_model("rankings", "Override")
    Exposure = apps.get_model("samples", "Exposure")
    for rows, where in (
        (Assignment.objects.filter(state="seen"), "seen"),
        (Override.objects.filter(user__isnull=False), "override"),
    ):
        new = []
        for user, comparison in rows.values_list("user_id", "comparison_id").distinct().iterator():
            new.append(Exposure(user_id=user, comparison_id=comparison, where=where))
            if len(new) == BATCH:
                Exposure.objects.bulk_create(new, ignore_conflicts=True)
                new = []
        Exposure.objects.bulk_create(new, ignore_conflicts=True)
    Assignment.objects.filter(state="seen").update(state="expired")


class Migration(migrations.Migration):
    dependencies = [
        ("rankings", "0004_labels_of_rankings"),
        ("samples", "0007_exposure"),
    ]

    operations = [
        migrations.RunPython(carry_over, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="assignment",
            name="state",
            field=models.CharField(
                choices=[("open", "open"), ("done", "done"), ("expired", "expired")], default="open", max_length=8
            ),
        ),
    ]
