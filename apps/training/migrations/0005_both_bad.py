"""Labels that say of both answers that they are bad."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0004_evaluation'),
    ]

    operations = [
        migrations.AddField(
            model_name='snapshotitem',
            name='both_bad',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='snapshotitem',
            name='both_bad_without_overrides',
            field=models.BooleanField(default=False),
        ),
    ]
