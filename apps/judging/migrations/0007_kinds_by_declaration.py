"""The choices of a judge's kind are read from the declarations from now on: a new kind needs no migration."""

from django.db import migrations, models

import apps.labels.models


class Migration(migrations.Migration):
    dependencies = [("judging", "0006_verdicts_of_rankings")]

    operations = [
        migrations.AlterField(
            model_name="judge",
            name="kind",
            field=models.CharField(choices=apps.labels.models.kind_choices, max_length=16),
        ),
    ]
