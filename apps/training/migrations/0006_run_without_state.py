"""A training run no longer repeats how its job is doing: the job says it, and `output` says that the run succeeded."""

from django.db import migrations


def say_again(apps, schema_editor):
    """On the way back: what the column held can be told from `output`. `error` and `job` were never written."""
    apps.get_model("training", "TrainingRun").objects.filter(output__isnull=False).update(state="succeeded")


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0005_both_bad'),
    ]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, say_again),
        migrations.RemoveField(model_name='trainingrun', name='state'),
        migrations.RemoveField(model_name='trainingrun', name='error'),
        migrations.RemoveField(model_name='trainingrun', name='job'),
    ]
