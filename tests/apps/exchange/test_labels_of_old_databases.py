"""A database of before rankings were labels: its rankings become labels, and its equal answers lose theirs."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from apps.labels.models import Preference, Score, Verdict, Vote
from apps.labels.services import preferences_derive
from apps.samples.models import Comparison

pytestmark = pytest.mark.django_db
mark = import_module("apps.samples.migrations.0006_mark_same_answers").mark
label = import_module("apps.rankings.migrations.0004_labels_of_rankings").label
mark_flags = import_module("apps.judging.migrations.0009_flags_of_answers").mark


@pytest.mark.slow
def test_it_is_brought_to_what_an_import_makes_today_and_again_changes_nothing(project, bring, write_lines):
    answers = [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    people = [{"rater": "ann", "groups": [[0], [1, 2]]}, {"rater": "ben", "groups": [[0], [1], [2]]}]
    same = [{"text": "s"}, {"text": "s"}]
    bring(
        write_lines(
            [
                {"id": "1", "prompt": "p", "completions": answers, "rankings": people},
                {
                    "id": "2",
                    "prompt": "q",
                    "completions": answers,
                    "rankings": [{"judge": "j", "groups": [[1], [0, 2]]}],
                },
                {"id": "3", "prompt": "r", "completions": same, "votes": [{"rater": "ann", "choice": 0}]},
            ]
        )
    )
    fields = ("comparison_id", "outcome", "p_first", "source")

    def state():
        votes = Vote.objects.order_by("comparison_id", "rater").values_list("comparison_id", "rater", "choice")
        verdicts = Verdict.objects.order_by("comparison_id").values_list("comparison_id", "order", "outcome")
        return sorted(Preference.objects.values_list(*fields)), list(votes), list(verdicts)

    wanted = state()
    # as it was before
    Preference.objects.all().delete()
    Vote.objects.filter(ranking__isnull=False).delete()
    Verdict.objects.all().delete()
    Comparison.objects.update(same_answers=False)
    preferences_derive(project=project, now=timezone.now())
    assert Preference.objects.get().comparison.prompt.external_id == "3"  # a label of equal answers
    for _ in range(2):
        mark(apps, None)
        label(apps, None)
        assert state() == wanted
    assert preferences_derive(project=project, now=timezone.now()) == 0


def test_scores_that_were_flags_are_marked_and_a_judge_s_grades_are_not(project, bring, write_lines):
    lines = [{"prompt": f"q{at}", "completion": "a", "label": bool(at)} for at in range(2)]
    bring(write_lines(lines, "unpaired.jsonl"))
    graded = [{"judge": "grader", "completion": 0, "value": value} for value in (0, 1)]
    bring(write_lines([{"id": "1", "prompt": "p", "completions": [{"text": "a"}], "scores": graded}], "graded.jsonl"))
    Score.objects.update(flag=False)
    mark_flags(apps, SimpleNamespace(connection=connection))
    assert sorted(Score.objects.values_list("judge__name", "flag")) == [
        ("dataset", True), ("dataset", True), ("grader", False), ("grader", False),
    ]  # fmt: skip
    Score.objects.update(flag=False)
    Score.objects.filter(judge__name="dataset").first().delete()
    Score.objects.filter(judge__name="grader", value=0).update(value=0.5, judge=Score.objects.first().judge)
    mark_flags(apps, SimpleNamespace(connection=connection))  # now `dataset` is no judge of flags alone
    assert not Score.objects.filter(flag=True).exists()
