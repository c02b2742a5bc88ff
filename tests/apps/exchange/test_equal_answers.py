"""Two equal answers are no preference: kept as they came, asked of nobody, in no label, report, export or training."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.core.management import call_command

from apps.exchange.left_out import left_out
from apps.judging.figures import judge_figures
from apps.judging.selectors import unjudged
from apps.labels.models import Preference, Vote
from apps.labels.selectors import label_judge, labels_of
from apps.labels.services import preferences_derive
from apps.rankings.models import Assignment
from apps.rankings.selectors import n_to_review, n_wanting, review_queue
from apps.reports.services import agreement_report
from apps.samples.models import Comparison
from prefloop.answers import same_answer
from tests.apps.rankings.queue_oracle import left_for

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


EQUAL = {
    "id": "q",
    "prompt": "Q",
    "completions": [{"text": "same"}, {"text": "same"}],
    "verdicts": [{"judge": "dataset", "pair": [0, 1], "order": [0, 1], "sample": 0, "state": "ok", "choice": 0}],
}


@pytest.fixture
def with_equal(project, bring, write_lines):
    """One pair that differs and two that do not: labelled by a data set, by a person, by a ranking."""
    bring(write_lines([{"prompt": "p", "chosen": "good", "rejected": "bad"}], "trl.jsonl"))
    bring(write_lines([EQUAL]))
    same = [{"text": "x"}, {"text": "x"}, {"text": "y"}]
    vote = {"rater": "ann", "pair": [0, 1], "choice": 0}
    bring(
        write_lines(
            [
                {
                    "id": "r",
                    "prompt": "R",
                    "completions": same,
                    "votes": [vote],
                    "rankings": [{"rater": "ben", "groups": [[2], [1], [0]]}],
                }
            ]
        )
    )
    return project


def test_texts_are_compared_exactly():
    assert same_answer("same", "same")
    for other in ("same ", "Same", "sa\u0301me"):
        assert not same_answer("same", other)


def test_equal_answers_get_no_label_however_they_are_derived(with_equal):
    equal = list(Comparison.objects.filter(same_answers=True).values_list("id", flat=True))
    assert len(equal) == 2
    assert Vote.objects.filter(comparison__in=equal).count() == 2  # kept
    assert not Preference.objects.filter(comparison__in=equal).exists()
    assert preferences_derive(project=with_equal, now=NOW) == 0
    assert labels_of(comparison_ids=equal, judge=label_judge(with_equal)) == {}
    assert Preference.objects.count() == 3


def test_nobody_is_asked_about_equal_answers(with_equal, member, make_judge):
    ann, judge = member("new", "annotator"), make_judge(with_equal, "other")
    assert not Assignment.objects.filter(comparison__same_answers=True).exists()
    assert n_wanting(project=with_equal, user=ann, now=NOW) == len(left_for(with_equal, [ann], NOW)[ann])
    assert not unjudged(judge).filter(same_answers=True).exists()
    assert len(review_queue(with_equal)) == n_to_review(with_equal) == 1


def test_no_figure_counts_them(with_equal):
    report = agreement_report(project=with_equal)
    assert (report["n_items"], report["n_majority"]) == (3, 2)
    judge = label_judge(with_equal)
    assert judge_figures(with_equal)[judge.pk].n == 1


@pytest.mark.parametrize(("shape", "n"), [("trl", 3), ("trl-implicit", 3), ("kto", 6), ("sft", 2)])
def test_no_export_holds_them_and_each_says_so(with_equal, take, shape, n):
    assert len(take(with_equal, shape).splitlines()) == n
    assert left_out(project=with_equal, format=shape).counts == {"same_answers": 2}


@pytest.mark.slow
def test_records_keep_them(with_equal, other_project, bring, take, write_lines):
    path = write_lines([], "out.jsonl")
    path.write_bytes(take(with_equal))
    bring(path, project=other_project)
    assert take(other_project) == take(with_equal)
    assert Comparison.objects.filter(project=other_project, same_answers=True).count() == 2


def test_the_import_counts_them(project, write_lines, capsys):
    path = write_lines([EQUAL])
    call_command("import_records", str(path), project=project.slug)
    assert "1 of the comparisons have two equal answers" in capsys.readouterr().out
    call_command("export_preferences", "--json", project=project.slug, format="trl", out=str(path.with_name("o.jsonl")))
    said = capsys.readouterr()
    assert json.loads(said.out)["left_out"] == {"same_answers": 1}
    assert "the file is empty: there is nothing to export in the format trl: 1 is left out" in said.err
