"""A job that nothing takes up says why, on its page, on its loop's, and in `doctor`."""

from __future__ import annotations

import os
from decimal import Decimal

import pytest

from apps.jobs import checks, services
from apps.jobs.clock import database_now
from apps.jobs.models import Job, Worker
from apps.jobs.waiting import jobs_that_want_more, why_waiting
from apps.jobs.wants import OWNED
from apps.quotas.services import quotas_set
from apps.training.models import Loop, Round, Stage
from prefloop.recipes.catalogue import get_recipe
from workers.feed import sign_of_life

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker(monkeypatch):
    """worker("a", cards=2): a worker of the queue gpu that runs and owns as many cards; None: whatever comes."""

    def make(name, cards):
        monkeypatch.delenv(OWNED, raising=False)
        if cards is not None:
            monkeypatch.setenv(OWNED, str(cards))
        sign_of_life(name=f"gpu@elsewhere:{os.getpid()}:{name}", queue="gpu")

    return make


def test_a_job_that_wants_more_cards_than_any_worker_owns_says_so(project, bob, client_for, worker):
    spec = services.JobSpec("training.run", "gpu", cards=4)
    group = services.group_create(project=project, name="g", jobs=[spec])
    job = group.jobs.get()
    loop = Loop.objects.create(
        project=project, recipe="dpo", config=get_recipe("dpo").to_json(), state="running", n_rounds=1
    )
    Round.objects.create(loop=loop, index=1, stage=Stage.TRAINING, group=group)
    page = f"/p/letters-test/jobs/{job.pk}/"

    def said():
        return why_waiting(job, now=database_now())

    assert said() == "No running worker takes jobs of the queue gpu. Start one: manage.py up."
    worker("a", 1)
    worker("b", 2)
    sentence = "It wants 4 cards at once, and no running worker owns more than 2."
    assert said().startswith(sentence)
    for at in (page, f"/p/letters-test/loops/{loop.pk}/"):
        assert sentence in client_for(bob).get(at).content.decode()
    finding = checks._workers()
    assert finding.detail == "a job of the queue gpu waits for 4 cards, and no worker owns more than 2"
    worker("c", None)  # it runs whatever comes
    assert said() == ""
    assert jobs_that_want_more(database_now()) == []
    Worker.objects.filter(cards=None).delete()
    worker("d", 4)
    assert said() == ""
    assert "Why it waits" not in client_for(bob).get(page).content.decode()


def test_a_job_that_its_project_s_quota_holds_back_says_so(project, worker, bob, api_for):
    worker("a", None)
    quotas_set(owner=project, limits={"running": Decimal(1)}, by=None)
    first, second = (services.job_enqueue(kind="t", queue="gpu", payload={}, project=project) for _ in range(2))
    assert why_waiting(second, now=database_now()) == "", "it only waits for its turn"
    assert services.job_claim(queues=["gpu"], worker="w") == first
    assert services.job_claim(queues=["gpu"], worker="w") is None
    assert why_waiting(second, now=database_now()).startswith(
        "Its project has as many jobs running as its quota allows (1)"
    )
    assert why_waiting(Job.objects.get(pk=first.pk), now=database_now()) == ""
    said = [
        api_for(bob).get(f"/api/v1/projects/{project.slug}/jobs/{job.pk}/").json()["why_waiting"]
        for job in (first, second)
    ]
    assert said == ["", why_waiting(second, now=database_now())]
