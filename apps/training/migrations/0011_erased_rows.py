"""A training set says how many of its rows are gone because their data were deleted."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0010_run_in_a_shared_store")]

    operations = [
        migrations.AddField(model_name="snapshot", name="n_erased", field=models.PositiveIntegerField(default=0)),
    ]
