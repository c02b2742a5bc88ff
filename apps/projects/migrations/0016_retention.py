"""How long a project keeps what nobody needs for ever, and how often data were deleted from it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("projects", "0015_groups")]

    operations = [
        migrations.AddField(model_name="project", name="retention", field=models.JSONField(default=dict)),
        migrations.AddField(model_name="project", name="retained_at", field=models.DateTimeField(null=True)),
        migrations.AddField(model_name="project", name="n_erasures", field=models.PositiveIntegerField(default=0)),
    ]
