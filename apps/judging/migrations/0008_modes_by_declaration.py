"""The choices of a judge's way of answering are read from the declarations: a new one needs no migration."""

from django.db import migrations, models

import apps.labels.models


class Migration(migrations.Migration):
    dependencies = [("judging", "0007_kinds_by_declaration")]

    operations = [
        migrations.AlterField(
            model_name="judge",
            name="mode",
            field=models.CharField(choices=apps.labels.models.mode_choices, default="text", max_length=12),
        ),
    ]
