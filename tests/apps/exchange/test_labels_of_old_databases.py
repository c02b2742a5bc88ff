"""A database of before rankings were labels: its rankings become labels, and its equal answers lose theirs."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from apps.labels.models import Preference, Verdict, Vote
from apps.labels.services import preferences_derive
from apps.samples.models import Comparison

pytestmark = pytest.mark.django_db
mark = import_module("apps.samples.migrations.0006_mark_same_answers").mark
label = import_module("apps.rankings.migrations.0004_labels_of_rankings").label


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
