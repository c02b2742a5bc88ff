"""Who measures a round, and what they are asked."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0003_people_in_command'),
    ]

    operations = [
        migrations.AddField(
            model_name='counterfactual',
            name='evaluation',
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name='round',
            name='evaluation',
            field=models.JSONField(default=dict),
        ),
    ]
