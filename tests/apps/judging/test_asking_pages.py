"""Asking a judge on its page: about what, when that is refused, and how its runs are shown."""

from __future__ import annotations

import pytest

from apps.jobs.models import Job
from apps.labels.models import Judge, JudgingRun
from apps.policies.models import Endpoint

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/judges/"


@pytest.fixture
def hosted(project):
    endpoint = Endpoint.objects.create(project=project, name="hosted", base_url="https://api.example/v1", model="big")
    return Judge.objects.create(project=project, name="hosted-judge", kind="llm", endpoint=endpoint, criterion="kind")


@pytest.mark.slow
def test_asking_takes_what_was_not_judged_of_the_split_and_a_sample_by_its_seed(
    hosted, make_verdict, make_comparison, make_prompt, project, erin, client_for
):
    said = make_comparison(project)
    make_verdict(said, judge=hosted)
    train = [make_comparison(project) for _ in range(6)]
    make_comparison(project, prompt=make_prompt(project, split="eval"))
    client, path = client_for(erin), f"{BASE}{hosted.pk}/ask/"
    client.post(path, {"split": "train", "which": "all"})
    assert JudgingRun.objects.latest("id").comparison_ids == [row.pk for row in train]
    Job.objects.update(state="cancelled")
    samples = []
    for seed in (1, 1, 2):
        client.post(path, {"split": "train", "which": "sample", "n": 3, "seed": seed})
        samples.append(JudgingRun.objects.latest("id").comparison_ids)
    assert samples[0] == samples[1] != samples[2]
    assert len(samples[0]) == 3
    assert said.pk not in samples[0]
    assert Job.objects.filter(kind="judging.chunk", started_by=erin).count() == 4


@pytest.mark.slow
def test_asking_is_refused_with_a_reason(hosted, make_judge, make_verdict, make_comparison, project, erin, client_for):
    client = client_for(erin)
    page = client.post(f"{BASE}{hosted.pk}/ask/", {"which": "all"})
    assert page.status_code == 400
    assert "no comparisons to judge" in page.content.decode()
    make_verdict(make_comparison(project), judge=hosted)
    assert "judged all of these" in client.post(f"{BASE}{hosted.pk}/ask/", {"which": "all"}).content.decode()
    make_comparison(project)
    assert client.post(f"{BASE}{hosted.pk}/ask/", {"which": "sample", "n": ""}).status_code == 400
    imported = make_judge(project, "old")
    page = client.post(f"{BASE}{imported.pk}/ask/", {"which": "all"}, follow=True)
    assert "was imported" in page.content.decode()
    client.post(f"{BASE}{hosted.pk}/retire/")
    page = client.post(f"{BASE}{hosted.pk}/ask/", {"which": "all"}, follow=True)
    assert "is retired" in page.content.decode()
    assert not JudgingRun.objects.exists()


@pytest.mark.slow
def test_the_runs_are_live_until_they_end(hosted, make_comparison, make_verdict, project, erin, client_for):
    comparison = make_comparison(project)
    client = client_for(erin)
    client.post(f"{BASE}{hosted.pk}/ask/", {"which": "all"})
    part = client.get(f"{BASE}{hosted.pk}/runs/")
    assert "0 / 1" in part.content.decode()
    assert client.get(f"{BASE}{hosted.pk}/runs/?since={part['X-Since']}").status_code == 204
    make_verdict(comparison, judge=hosted, run=JudgingRun.objects.get())
    Job.objects.update(state="succeeded")
    later = client.get(f"{BASE}{hosted.pk}/runs/?since={part['X-Since']}")
    assert later["X-Poll"] == "stop"
    assert "1 / 1" in later.content.decode()
