"""Accounts that were deleted, and what is still to be deleted of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_open_sessions")]

    operations = [
        migrations.AddField(
            model_name="user", name="deleted_at", field=models.DateTimeField(db_index=True, null=True)
        ),
        migrations.AddField(model_name="user", name="leaving", field=models.JSONField(null=True)),
    ]
