from django.db import migrations


class Migration(migrations.Migration):
    """A step of its own: PostgreSQL alters no table for which rows written in the same transaction wait to be checked."""

    dependencies = [
        ("judging", "0015_parts_of_runs"),
    ]

    operations = [
        migrations.RemoveField(
            model_name="judgingrun",
            name="comparison_ids",
        ),
    ]
