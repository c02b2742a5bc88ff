"""An assignment remembers the guideline that went with its pair; those that are open now have today's."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def name_todays(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    assignments = apps.get_model("rankings", "Assignment").objects.filter(state="open", guideline="")
    latest = (
        apps.get_model("projects", "Guideline")
        .objects.values_list("project")
        .annotate(version=models.Max("version"))
        .values_list("project", "version")
    )
    for project, version in latest:
        assignments.filter(project=project).update(guideline=f"v{version}")


class Migration(migrations.Migration):
    dependencies = [("rankings", "0005_seen_is_an_exposure"), ("projects", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="assignment",
            name="guideline",
            field=models.CharField(blank=True, max_length=40),
        ),
        migrations.RunPython(name_todays, migrations.RunPython.noop),
    ]
