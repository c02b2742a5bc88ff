"""Mark the scores that were imported as flags: 1 or 0 by a judge that said nothing else."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Q


def mark(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Single answers with a label came in as scores of the judge `dataset`, which had no other scores."""
    scores = apps.get_model("judging", "Score").objects.using(schema_editor.connection.alias)
    judges = apps.get_model("judging", "Judge").objects.using(schema_editor.connection.alias)
    for judge in judges.filter(name="dataset", kind="imported"):
        flags = Q(value__in=(0.0, 1.0), state="ok")
        if not scores.filter(~flags, judge=judge).exists() and not scores.filter(judge=judge, value=None).exists():
            scores.filter(judge=judge).update(flag=True)


class Migration(migrations.Migration):
    dependencies = [("judging", "0008_modes_by_declaration")]

    operations = [
        migrations.AddField(model_name="score", name="flag", field=models.BooleanField(default=False)),
        migrations.AddConstraint(
            model_name="score",
            constraint=models.CheckConstraint(
                condition=Q(flag=False) | Q(value__isnull=False, value__in=(0.0, 1.0)), name="score_flag_is_1_or_0"
            ),
        ),
        migrations.RunPython(mark, migrations.RunPython.noop),
    ]
