from __future__ import annotations

from datetime import timedelta
from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.utils import timezone

DAYS = 90


def give_scope_and_expiry(apps: Any, schema_editor: Any) -> None:
    """Tokens made before keep doing what they did, for 90 days from now where they had no end."""
    tokens = apps.get_model("knox", "AuthToken").objects.using(schema_editor.connection.alias)
    scopes = apps.get_model("accounts", "TokenScope").objects.using(schema_editor.connection.alias)
    for digest in list(tokens.filter(scope_row=None).values_list("digest", flat=True)):
        scopes.create(token_id=digest, scope="manage")
    tokens.filter(expiry=None).update(expiry=timezone.now() + timedelta(days=DAYS))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial"), ("knox", "0009_extend_authtoken_field")]

    operations = [
        migrations.CreateModel(
            name="TokenScope",
            fields=[
                (
                    "token",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="scope_row",
                        serialize=False,
                        to="knox.authtoken",
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("read", "Read"),
                            ("annotate", "Annotate"),
                            ("manage", "Manage"),
                        ],
                        max_length=16,
                    ),
                ),
            ],
        ),
        migrations.RunPython(give_scope_and_expiry, migrations.RunPython.noop),
    ]
