"""Each person's count of rated answers, from the ratings that stand."""

from django.db import migrations
from django.db.models import Count, F


def count(apps, schema_editor):
    Rating = apps.get_model("labels", "Rating")
    Place = apps.get_model("rankings", "Place")
    standing = Rating.objects.filter(superseded_by=None, user__isnull=False).exclude(choice="withdrawn").order_by()
    found = standing.annotate(project=F("completion__project")).values_list("project", "user").annotate(n=Count("pk"))
    for project, user, n in found:
        Place.objects.update_or_create(project_id=project, user_id=user, defaults={"n_rated": n})


class Migration(migrations.Migration):
    dependencies = [
        ("labels", "0009_flags_of_answers"),
        ("rankings", "0027_ratings_are_counted"),
    ]

    operations = [migrations.RunPython(count, migrations.RunPython.noop)]
