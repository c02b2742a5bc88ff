"""Free seats go to their lanes, and votes of excluded people are asked for again, by a job as soon as a worker runs; until
then seats come in the order of their ids.
"""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Exists, OuterRef


def enqueue(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    seats = apps.get_model("rankings", "Assignment").objects.filter(project=OuterRef("pk"))
    for project in apps.get_model("projects", "Project").objects.filter(Exists(seats)):
        apps.get_model("jobs", "Job").objects.get_or_create(
            unique_key=f"rankings.seats:lanes:{project.pk}",
            defaults={
                "kind": "rankings.seats",
                "queue": "cpu",
                "project": project,
                "title": "Bring the queue to the order of worth",
            },
        )


class Migration(migrations.Migration):
    dependencies = [
        ("rankings", "0012_drawn_by_chance"),
        ("labels", "0004_fill_review_items"),
        ("projects", "0003_random_share"),
        ("jobs", "0004_demo_kinds"),
    ]

    operations = [migrations.RunPython(enqueue, migrations.RunPython.noop)]
