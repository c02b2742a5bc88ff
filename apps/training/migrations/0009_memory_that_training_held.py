from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0008_forecast_at_the_start"),
    ]

    operations = [
        migrations.AddField(
            model_name="loop",
            name="foreseen_memory",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="trainingrun",
            name="peak",
            field=models.JSONField(default=dict),
        ),
    ]
