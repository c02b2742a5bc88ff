"""Asking a judge by the API: as its page does."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.labels.models import Judge, JudgingRun
from apps.policies.models import Endpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def judge(project):
    endpoint = Endpoint.objects.create(project=project, name="gpt", base_url="http://127.0.0.1:1/v1", model="m")
    return Judge.objects.create(project=project, name="critic", kind="llm", endpoint=endpoint, criterion="kind")


@pytest.fixture
def at(judge):
    return f"/api/v1/projects/letters-test/judges/{judge.pk}/runs/"


@pytest.mark.slow
def test_a_judge_is_asked_about_what_it_has_not_judged(
    project, judge, at, make_comparison, make_verdict, erin, api_for
):
    pairs = [make_comparison(project) for _ in range(6)]
    make_verdict(pairs[0], judge=judge)
    made = api_for(erin).post(at, {"n": 2, "seed": 3}, format="json")
    assert (made.status_code, made.json()["n_comparisons"], made.json()["jobs_open"]) == (201, 2, 1)
    run = JudgingRun.objects.get()
    assert set(run.comparison_ids) < {pair.pk for pair in pairs[1:]}
    assert api_for(erin).post(at, {}, format="json").json()["n_comparisons"] == 5
    assert [row["n_comparisons"] for row in api_for(erin).get(at).json()] == [5, 2]


def test_what_it_can_not_be_asked_is_said(project, judge, at, make_comparison, make_verdict, erin, api_for):
    api = api_for(erin)
    assert "no comparisons to judge" in api.post(at, {}, format="json").json()["detail"]
    make_verdict(make_comparison(project), judge=judge)
    assert "has judged all of these" in api.post(at, {}, format="json").json()["detail"]
    assert api.post(at, {"n": 0}, format="json").status_code == 400
    Judge.objects.filter(pk=judge.pk).update(retired_at=timezone.now())
    assert "is retired" in api.post(at, {}, format="json").json()["detail"]
    assert not JudgingRun.objects.exists()


def test_leads_read_and_only_engineers_ask(project, judge, at, make_comparison, ann, bob, charlie, api_for):
    make_comparison(project)
    assert api_for(bob).get(at).json() == []
    for person in (ann, charlie):
        assert api_for(person).get(at).status_code == 404
    for person in (ann, bob, charlie):
        assert api_for(person).post(at, {}, format="json").status_code == 404
    assert not JudgingRun.objects.exists()
