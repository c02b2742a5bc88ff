"""A checkpoint says since when data are deleted from which it learned."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("policies", "0004_calls_at_once")]

    operations = [
        migrations.AddField(
            model_name="checkpoint", name="learned_deleted_at", field=models.DateTimeField(null=True)
        ),
    ]
