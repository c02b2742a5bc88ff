"""What is being deleted of a project, so that nothing else is done with its data meanwhile."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("projects", "0016_retention")]

    operations = [
        # old processes that run on while the database is migrated insert rows without it
        migrations.AddField(
            model_name="project",
            name="removing",
            field=models.CharField(blank=True, db_default="", default="", max_length=8),
        ),
    ]
