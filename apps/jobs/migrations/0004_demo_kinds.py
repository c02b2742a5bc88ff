"""The demo's jobs are of one kind for every world; those of letters are renamed, so that a finished demo stays finished."""

from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

KINDS = {
    "letters.seed": "demo.seed",
    "letters.seed.compare": "demo.seed.compare",
    "letters.seed.simulated": "demo.seed.second",
    "letters.seed.finish": "demo.seed.finish",
}


def rename(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    job, group = apps.get_model("jobs", "Job"), apps.get_model("jobs", "JobGroup")
    for before, after in KINDS.items():
        job.objects.filter(kind=before).update(kind=after)
        group.objects.filter(follow_up_kind=before).update(follow_up_kind=after)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_seconds_each")]
    operations = [migrations.RunPython(rename, migrations.RunPython.noop)]
