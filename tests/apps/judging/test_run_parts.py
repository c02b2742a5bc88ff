"""What a judging run asks about lies in the parts that its jobs take, also of runs made before there were any."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apps.jobs.models import Job
from apps.judging.services import COMPARISONS_PER_JOB, judging_run_create
from apps.labels.models import JudgingPart, JudgingRun

BEFORE, NOW = ("judging", "0014_criteria_of_judges"), ("judging", "0016_comparisons_in_parts")


@pytest.mark.django_db
def test_every_job_has_a_part_and_reads_no_other(
    project, make_judge, make_comparison, make_prompt, monkeypatch, django_assert_num_queries
):
    monkeypatch.setattr("apps.judging.services.COMPARISONS_PER_JOB", 2)
    prompt = make_prompt(project)
    ids = [make_comparison(project, (f"good {n}", f"bad {n}"), prompt=prompt).pk for n in range(5)]
    run = judging_run_create(project=project, judge=make_judge(project, kind="world"), comparison_ids=ids[::-1])
    assert run.n_comparisons == 5
    assert run.comparison_ids == ids[::-1]
    jobs = Job.objects.filter(group=run.group).order_by("id")
    taken = [JudgingPart.objects.get(run=run, start=job.payload["start"]).ids for job in jobs]
    assert taken == [ids[4:2:-1], ids[2:0:-1], ids[:1]]
    with django_assert_num_queries(1) as asked:
        JudgingRun.objects.get(pk=run.pk)
    assert "ids" not in asked.captured_queries[0]["sql"]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_run_that_waits_since_before_the_parts_is_split_as_its_jobs_expect(project, make_judge):
    judge = make_judge(project)
    ids = list(range(1, 2 * COMPARISONS_PER_JOB + 8))
    try:
        MigrationExecutor(connection).migrate([BEFORE])
        then = MigrationExecutor(connection).loader.project_state([BEFORE]).apps.get_model("judging", "JudgingRun")
        long = then.objects.create(project_id=project.pk, judge_id=judge.pk, comparison_ids=ids)
        none = then.objects.create(project_id=project.pk, judge_id=judge.pk, comparison_ids=[])
    finally:
        MigrationExecutor(connection).migrate([NOW])
    found = JudgingRun.objects.get(pk=long.pk)
    assert found.n_comparisons == len(ids)
    assert found.comparison_ids == ids
    starts = [part.start for part in found.parts.order_by("start")]
    assert starts == [0, COMPARISONS_PER_JOB, 2 * COMPARISONS_PER_JOB]
    assert JudgingRun.objects.get(pk=none.pk).comparison_ids == []
    try:  # and back, for somebody who must
        MigrationExecutor(connection).migrate([BEFORE])
        assert list(then.objects.values_list("comparison_ids", flat=True).order_by("pk")) == [ids, []]
    finally:
        MigrationExecutor(connection).migrate([NOW])
