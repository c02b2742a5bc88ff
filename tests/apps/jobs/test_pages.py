"""Who sees and touches which job, and what the pages and commands say."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.jobs import services
from apps.jobs.models import Job, JobEvent, JobState

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(project):
    return services.job_enqueue(kind="t.echo", queue="cpu", payload={}, project=project, title="Sample 8 answers")


@pytest.mark.slow
def test_members_see_a_job_and_strangers_get_404(job, bob, charlie, client_for):
    for address in ("/p/letters-test/jobs/", f"/p/letters-test/jobs/{job.pk}/"):
        page = client_for(bob).get(address)
        assert page.status_code == 200
        assert "Sample 8 answers" in page.content.decode()
        assert client_for(charlie).get(address).status_code == 404
        assert client_for(None).get(address).status_code == 302


def test_a_job_is_not_reached_through_another_project(job, charlie, other_project, client_for):
    assert client_for(charlie).get(f"/p/{other_project.slug}/jobs/{job.pk}/").status_code == 404


def test_a_job_links_to_the_cluster_s_own_page_of_it(job, bob, client_for):
    for words, page in (("Ray job run-1.ab", "http://ray.internal:8265/#/jobs/run-1.ab"), ("Slurm job 7", "")):
        JobEvent.objects.create(job=job, kind="place", text=words, data={"page": page})
    body = client_for(bob).get(f"/p/letters-test/jobs/{job.pk}/").content.decode()
    assert '<a href="http://ray.internal:8265/#/jobs/run-1.ab" rel="noreferrer">Ray job run-1.ab</a>' in body
    assert "<td>Slurm job 7</td>" in body


@pytest.mark.slow
def test_the_list_of_all_projects_holds_only_one_s_own(job, bob, charlie, client_for):
    assert "Sample 8 answers" in client_for(bob).get("/jobs/").content.decode()
    assert "Sample 8 answers" not in client_for(charlie).get("/jobs/").content.decode()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_only_engineers_and_who_started_it_touch_a_job(job, ann, bob, erin, charlie, client_for, verb):
    address = f"/p/letters-test/jobs/{job.pk}/{verb}/"
    for person in (ann, bob, charlie):
        assert client_for(person).post(address).status_code == 404
    assert Job.objects.get().state == JobState.QUEUED
    assert client_for(erin).post(address).status_code == 302
    Job.objects.update(started_by=ann)
    assert client_for(ann).post(address).status_code == 302


def test_cancel_then_retry_by_the_buttons(job, erin, client_for):
    client = client_for(erin)
    client.post(f"/p/letters-test/jobs/{job.pk}/cancel/")
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    answer = client.post(f"/p/letters-test/jobs/{job.pk}/retry/")
    new = Job.objects.get(parent=job)
    assert answer["Location"] == f"/p/letters-test/jobs/{new.pk}/"
    assert new.started_by == erin


def test_a_page_that_asks_since_gets_204_until_something_changes(job, bob, client_for):
    client = client_for(bob)
    for address in ("/p/letters-test/jobs/", f"/p/letters-test/jobs/{job.pk}/"):
        version = client.get(address)["X-Since"]
        assert client.get(address, {"since": version}).status_code == 204
        Job.objects.update(step=Job.objects.get().step + 1, n_steps=9)
        changed = client.get(address, {"since": version})
        assert changed.status_code == 200
        assert "<html" not in changed.content.decode()
        assert changed["X-Since"] != version


def test_an_ended_job_stops_the_asking(job, bob, client_for):
    services.job_cancel(job=job, by=None)
    assert client_for(bob).get(f"/p/letters-test/jobs/{job.pk}/")["X-Poll"] == "stop"


def test_what_a_job_says_is_escaped(job, bob, client_for):
    Job.objects.update(state="failed", error="<script>alert(1)</script>", message="<b>x</b>", n_steps=2)
    page = client_for(bob).get(f"/p/letters-test/jobs/{job.pk}/").content.decode()
    assert "<script>alert" not in page
    assert "<b>x</b>" not in page


@pytest.mark.slow
def test_the_list_asks_the_same_number_of_questions_for_one_job_and_for_many(
    job, project, bob, client_for, django_assert_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = client_for(bob)
    client.get("/p/letters-test/jobs/")
    with CaptureQueriesContext(connection) as one:
        client.get("/p/letters-test/jobs/")
    for _ in range(20):
        services.job_enqueue(kind="t.echo", queue="cpu", payload={}, project=project)
    with django_assert_num_queries(len(one)):
        client.get("/p/letters-test/jobs/")


def test_the_command_lists_jobs_as_json(job):
    out = StringIO()
    call_command("jobs", "--json", "--project", "letters-test", stdout=out)
    listed = json.loads(out.getvalue())
    assert [(one["id"], one["state"], one["title"]) for one in listed["jobs"]] == [
        (job.pk, "queued", "Sample 8 answers")
    ]
    assert listed["workers"] == []


def test_the_command_refuses_a_project_that_is_not_there():
    with pytest.raises(CommandError, match="no project 'nowhere'"):
        call_command("jobs", "--project", "nowhere")


@pytest.mark.slow
def test_a_broker_that_is_down_does_not_fail_the_request(
    settings, project, monkeypatch, django_capture_on_commit_callbacks
):
    from celery import current_app

    from apps.jobs import doorbell

    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    monkeypatch.setattr(current_app.conf, "broker_url", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    # a bell that an earlier test rang on a broker that is up leaves its producers behind: they know no other address
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)
    monkeypatch.setattr(current_app, "_pool", None)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        job = services.job_enqueue(kind="t.echo", queue="cpu", payload={}, project=project)
    assert len(callbacks) == 1
    assert Job.objects.get(pk=job.pk).state == JobState.QUEUED
    assert doorbell._silent_until > 0


def test_without_a_broker_nothing_is_published(settings, project, django_capture_on_commit_callbacks):
    settings.CELERY_BROKER_URL = ""
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        services.job_enqueue(kind="t.echo", queue="cpu", payload={}, project=project)
    assert callbacks == []


@pytest.mark.slow
def test_annotators_read_no_job_that_they_did_not_start(job, ann, client_for):
    """A job names models, judges and the machine that runs it."""
    client = client_for(ann)
    assert client.get(f"/p/letters-test/jobs/{job.pk}/").status_code == 404
    for path in ("/jobs/", "/p/letters-test/jobs/"):
        assert "Sample 8 answers" not in client.get(path).content.decode()
