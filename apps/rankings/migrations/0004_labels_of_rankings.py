"""Rankings that are there become labels of their pairs, and equal answers lose the label they had.

Again changes nothing: a ranking that has its votes or verdicts is passed over. The labels of the comparisons touched
follow at once: people's majority where no override or adjudication is in the way, else what the project's label judge
ranked where it had said nothing else.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

from django.db import migrations
from django.db.models import Q
from django.utils import timezone

OUTCOMES = ("first", "second", "tie", "both_bad")
P = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": None}


def said(groups: list[list[int]]) -> list[tuple[int, int, str]]:
    level = {pk: at for at, group in enumerate(groups) for pk in group}
    return [
        (a, b, "tie" if level[a] == level[b] else "first" if level[a] < level[b] else "second")
        for a, b in combinations(sorted(level), 2)
    ]


def label(apps: Any, schema_editor: Any) -> None:
    ranking_model, vote_model = apps.get_model("rankings", "Ranking"), apps.get_model("rankings", "Vote")
    verdict_model, comparison_model = apps.get_model("judging", "Verdict"), apps.get_model("samples", "Comparison")
    completion_model = apps.get_model("samples", "Completion")
    touched: set[int] = set()
    nth: Counter[tuple[int, int]] = Counter()  # rankings of one judge and prompt so far
    done = set(vote_model.objects.filter(ranking__isnull=False).values_list("ranking_id", flat=True))
    for ranking in ranking_model.objects.order_by("pk").select_related("prompt").iterator(chunk_size=500):
        if ranking.pk in done:
            continue
        texts = dict(completion_model.objects.filter(prompt_id=ranking.prompt_id).values_list("pk", "text"))
        for first, second, outcome in said(ranking.groups):
            if first not in texts or second not in texts:
                continue
            comparison, _ = comparison_model.objects.get_or_create(
                first_id=first,
                second_id=second,
                defaults={
                    "project_id": ranking.prompt.project_id,
                    "prompt_id": ranking.prompt_id,
                    "batch_id": ranking.prompt.batch_id,
                    "origin": "import",
                    "held_out": ranking.prompt.split == "eval",
                    "same_answers": texts[first] == texts[second],
                },
            )
            if ranking.judge_id is not None:
                verdict_model.objects.get_or_create(
                    judge_id=ranking.judge_id,
                    comparison=comparison,
                    order="",
                    sample=nth[ranking.prompt_id, ranking.judge_id],
                    defaults={"state": "ok", "outcome": outcome},
                )
            else:
                votes = vote_model.objects.filter(comparison=comparison, rater=ranking.rater)
                head = votes.filter(superseded_by__isnull=True).first()
                if head is not None and head.ranking_id is None and head.choice != "withdrawn":
                    continue
                vote_model.objects.create(
                    comparison=comparison, rater=ranking.rater, choice=outcome, ranking=ranking, supersedes=head
                )
            touched.add(comparison.pk)
        if ranking.judge_id is not None:
            nth[ranking.prompt_id, ranking.judge_id] += 1
    derive(apps, sorted(touched))


def derive(apps: Any, touched: list[int]) -> None:
    preference, vote_model = apps.get_model("rankings", "Preference"), apps.get_model("rankings", "Vote")
    preference.objects.filter(comparison__same_answers=True).delete()
    settled = Q(source="override") | Q(source="adjudication")
    rows_of = apps.get_model("samples", "Comparison").objects
    for pk in touched:
        if preference.objects.filter(settled, comparison_id=pk).exists() or rows_of.get(pk=pk).same_answers:
            continue
        votes = vote_model.objects.filter(comparison_id=pk, superseded_by__isnull=True, choice__in=OUTCOMES)
        rows = list(votes.order_by("pk").values_list("pk", "choice"))
        counts = Counter(choice for _, choice in rows).most_common(2)
        if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
            preference.objects.filter(comparison_id=pk, source="human").delete()
            by_judge(apps, pk)
            continue
        choice = counts[0][0]
        preference.objects.update_or_create(
            comparison_id=pk,
            defaults={
                "outcome": choice,
                "p_first": P[choice],
                "source": "human",
                "label_ids": [f"vote:{vote}" for vote, _ in rows],
                "derived_at": timezone.now(),
            },
        )


def by_judge(apps: Any, pk: int) -> None:
    preference, judge_model = apps.get_model("rankings", "Preference"), apps.get_model("judging", "Judge")
    project = apps.get_model("samples", "Comparison").objects.select_related("project").get(pk=pk).project
    judges = judge_model.objects.filter(project=project).order_by("-version")
    names = set(judges.filter(retired_at__isnull=True).values_list("name", flat=True))
    judge = judges.filter(name=project.label_judge or (names.pop() if len(names) == 1 else "")).first()
    verdicts = apps.get_model("judging", "Verdict").objects.filter(comparison_id=pk, judge=judge)
    if judge is None or verdicts.exclude(order="").exists():
        return
    outcomes = set(verdicts.values_list("outcome", flat=True))
    if len(outcomes) == 1:
        choice = outcomes.pop()
        ids = [f"verdict:{verdict}" for verdict in verdicts.order_by("pk").values_list("pk", flat=True)]
        made = {"outcome": choice, "p_first": P[choice], "source": f"judge:{judge.name}", "label_ids": ids}
        preference.objects.update_or_create(comparison_id=pk, defaults=made | {"derived_at": timezone.now()})


class Migration(migrations.Migration):
    dependencies = [
        ("rankings", "0003_votes_of_rankings"),
        ("samples", "0006_mark_same_answers"),
        ("judging", "0006_verdicts_of_rankings"),
    ]

    operations = [migrations.RunPython(label, migrations.RunPython.noop)]
