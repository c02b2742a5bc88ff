"""Every judged comparison gets its row in Review, and the counts follow. How much each is worth a review is weighed by
a job as soon as a worker runs; until then they come by id. Again changes nothing.
"""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import Coalesce

BATCH = 2000


def fill(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    items = apps.get_model("labels", "ReviewItem").objects
    said = apps.get_model("judging", "Verdict").objects
    excluded = apps.get_model("labels", "Exclusion").objects.filter(
        Q(since=None) | Q(since__lte=Coalesce(OuterRef("at"), OuterRef("created_at"))),
        project=OuterRef("comparison__project"),
        rater=OuterRef("rater"),
        lifted_at=None,
    )
    override = apps.get_model("rankings", "Override").objects
    decided = override.filter(~Exists(excluded), superseded_by=None).exclude(kind="withdrawn")
    there = apps.get_model("samples", "Comparison").objects.filter(Q(batch=None) | Q(batch__ready=True))
    last = 0
    while rows := list(there.filter(pk__gt=last).order_by("pk").values_list("pk", "held_out", "same_answers")[:BATCH]):
        first, last = rows[0][0], rows[-1][0]
        here = Q(comparison__gte=first, comparison__lte=last)
        done = set(decided.filter(here).values_list("comparison", flat=True))
        aside = {pk: held_out or same for pk, held_out, same in rows}
        judged = said.filter(here).order_by().values_list("judge", "comparison").annotate(n=Count("pk"))
        new = [
            items.model(
                judge_id=judge,
                comparison_id=key,
                n_verdicts=n,
                state="aside" if aside[key] else "decided" if key in done else "todo",
            )
            for judge, key, n in judged
            if key in aside
        ]
        items.bulk_create(new, batch_size=500, ignore_conflicts=True)
    n_of = {name: Count("pk", filter=Q(state=state)) for name, state in (("waits", "todo"), ("done", "decided"))}
    counts = apps.get_model("judging", "ReviewCount").objects
    for judge, n_to_review, n_decided in items.order_by().values_list("judge").annotate(**n_of):
        counts.filter(judge=judge).update(n_to_review=n_to_review, n_decided=n_decided)
    job = apps.get_model("jobs", "Job").objects
    for project in apps.get_model("projects", "Project").objects.filter(judges__review_items__isnull=False).distinct():
        job.get_or_create(
            unique_key=f"labels.review:{project.pk}",
            defaults={
                "kind": "labels.review",
                "queue": "cpu",
                "project": project,
                "title": "Weigh what waits for a review",
            },
        )


class Migration(migrations.Migration):
    dependencies = [
        ("labels", "0003_review_items"),
        ("judging", "0012_effects_of_reviews"),
        ("jobs", "0004_demo_kinds"),
        ("rankings", "0009_fill_seats"),
    ]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
