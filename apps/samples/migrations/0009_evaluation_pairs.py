"""Comparisons made to measure: never trained on, and given to people only where they were chosen for them."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('projects', '0001_initial'),
        ('prompts', '0002_annotations_added'),
        ('samples', '0008_engine_chosen_by_worker'),
    ]

    operations = [
        migrations.AddField(
            model_name='comparison',
            name='for_people',
            field=models.BooleanField(default=True),
        ),
        migrations.AddIndex(
            model_name='comparison',
            index=models.Index(condition=models.Q(('for_people', True), ('origin__startswith', 'evaluation')), fields=['project'], name='comparison_people_measure'),
        ),
        migrations.AddConstraint(
            model_name='comparison',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('origin__startswith', 'evaluation'), _negated=True), ('held_out', True), _connector='OR'), name='comparison_of_evaluation_is_held_out'),
        ),
    ]
