"""Quotas: asked before anything is made, counted once, never exceeded by two at a time, set by an administrator."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.core.models import AuditEvent
from apps.core.origin import origin
from apps.core.store import uploads
from apps.exchange.models import Upload
from apps.jobs import services as jobs
from apps.jobs.models import Job, JobState, Turn
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.spending import calls_hold, calls_settle
from apps.prompts.models import PromptSet
from apps.quotas import counting
from apps.quotas.models import Quota, Used
from apps.quotas.selectors import lines_of_person, lines_of_project
from apps.quotas.services import QuotaReached, ask, quotas_set
from apps.samples.models import SamplingRun
from apps.samples.services import sampling_run_create
from config import env
from prefloop.judging.errors import CapReached
from prefloop.judging.metering import Most
from tests.together import together

pytestmark = pytest.mark.postgresql
URL = "/p/letters-test/settings/quotas/"


@pytest.fixture
def policy(project):
    return Checkpoint.objects.create(project=project, name="start", role="policy", path="x", fingerprint="f", n_bytes=9)


@pytest.fixture
def endpoint(project):
    return Endpoint.objects.create(
        project=project, name="served", base_url="https://api.example.org/v1", model="m", output_price=Decimal(1000)
    )


@pytest.fixture
def operator(make_user):
    return make_user("root", is_superuser=True, is_staff=True)


def used(owner, name):
    lines = lines_of_person(owner) if hasattr(owner, "username") else lines_of_project(owner)
    return next(line for line in lines if line.name == name).used


def limit(owner, **limits):
    quotas_set(owner=owner, limits={name: Decimal(n) for name, n in limits.items()}, by=None)


def test_a_run_that_would_go_over_is_refused_everywhere_and_makes_nothing(
    project, policy, erin, bob, make_prompt, api_for, client_for
):
    prompts = [make_prompt(project) for _ in range(4)]
    ids = [prompt.pk for prompt in prompts]
    limit(project, samples=20)
    limit(erin, samples=12)
    sampling_run_create(project=project, checkpoint=policy, prompt_ids=ids, n=2, started_by=erin)
    sampling_run_create(project=project, checkpoint=policy, prompt_ids=ids, n=2, started_by=bob)
    assert (used(project, "samples"), used(erin, "samples"), used(bob, "samples")) == (16, 8, 8)
    before = (SamplingRun.objects.count(), Job.objects.count())

    # 8 + 8 answers are more than the 12 of a person, though the project has room for 4 more
    body = {"checkpoint": "start", "prompt_set": "main", "n": 2}
    told = api_for(erin).post("/api/v1/projects/letters-test/samples/runs/", body, format="json")
    assert (told.status_code, told.json()["code"]) == (429, "quota_reached")
    assert "The quota of the project Thank-you letters leaves no room for this." in told.json()["detail"]
    assert "16 of 20 are used, and this takes 8." in told.json()["detail"]
    limit(project, samples=100)
    told = api_for(erin).post("/api/v1/projects/letters-test/samples/runs/", body, format="json")
    assert "The quota of erin leaves no room for this. Answers sampled this month: 8 of 12" in told.json()["detail"]

    page = client_for(erin).post(
        "/p/letters-test/samples/new/",
        {"checkpoint": policy.pk, "prompt_set": PromptSet.objects.get().pk, "n": 2, "temperature": 1, "top_p": 1,
         "top_k": 0, "max_tokens": 20, "seed": 0, "engine": "transformers"},
    )  # fmt: skip
    assert "The quota of erin leaves no room for this." in page.content.decode()
    limit(project, samples=17)
    with pytest.raises(CommandError, match="16 of 17 are used, and this takes 4"):
        call_command("sample", "--checkpoint", "start", "--prompts", "main", "-n", "1", "--project", "letters-test")
    assert (SamplingRun.objects.count(), Job.objects.count()) == before
    assert used(project, "samples") == 16, "what was refused is not counted"


def test_jobs_are_asked_for_when_work_begins_and_never_while_it_goes_on(project, erin):
    limit(project, jobs=3)
    specs = [jobs.JobSpec("t.work", "cpu") for _ in range(2)]
    group = jobs.group_create(project=project, name="g", jobs=specs, started_by=erin)
    with pytest.raises(QuotaReached, match="2 of 3 are used, and this takes 2"):
        jobs.group_create(project=project, name="h", jobs=specs, started_by=erin)
    with origin(by="job 7"):  # the next step of work that has begun
        jobs.group_create(project=project, name="next", jobs=specs)
    person = jobs.job_enqueue(kind="t.seconds", queue="cpu", payload={}, project=project, turn=Turn.PERSON)
    assert used(project, "jobs") == 4, "what takes seconds is not counted"
    limit(project, jobs=1)
    assert Job.objects.filter(state=JobState.QUEUED).count() == 5, "a lowered limit ends nothing"
    failed = group.jobs.first()
    jobs.job_cancel(job=failed, by=erin)
    failed.refresh_from_db()
    with pytest.raises(QuotaReached):
        jobs.job_retry(job=failed, by=erin)
    for job in Job.objects.exclude(pk=person.pk):
        jobs.job_cancel(job=job, by=erin)
    assert used(project, "jobs") == 0
    assert jobs.job_retry(job=failed, by=erin).state == JobState.QUEUED


def test_calls_are_held_at_their_most_in_their_month_and_settled_there(project, endpoint, erin, monkeypatch):
    november, december = dt.date(2026, 11, 1), dt.date(2026, 12, 1)
    month = [november]
    for place in ("apps.quotas.services", "apps.policies.spending", "apps.quotas.counting"):
        monkeypatch.setattr(f"{place}.this_month", lambda: month[0])
    limit(project, tokens=250)
    limit(erin, money="0.5")
    most = [Most(100, 100)]  # 100 completion tokens at $1,000 a million are 10 cents
    (first,) = calls_hold(endpoint_id=endpoint.pk, most=most, person_id=erin.pk)
    with pytest.raises(CapReached, match="Tokens at endpoints this month: 200 of 250 are used, and this takes 200"):
        calls_hold(endpoint_id=endpoint.pk, most=most, person_id=erin.pk)
    month[0] = december
    usage = {"prompt_tokens": 60, "completion_tokens": 40}
    calls_settle(endpoint_id=endpoint.pk, calls=[(first, usage)], purpose="judging", person_id=erin.pk)
    assert {(row.kind, row.month): row.amount for row in Used.objects.all()} == {
        ("tokens", november): 100, ("money", november): 40_000_000,
    }  # fmt: skip
    assert (used(project, "tokens"), used(erin, "money")) == (0, 0), "December begins at nothing"
    limit(project, tokens=10_000)
    for _ in range(5):
        calls_hold(endpoint_id=endpoint.pk, most=most, person_id=erin.pk)
    with pytest.raises(CapReached, match=r"The quota of erin .*Money at endpoints this month: \$0.50 of \$0.50"):
        calls_hold(endpoint_id=endpoint.pk, most=most, person_id=erin.pk)
    assert Endpoint.objects.get().committed_tokens == 1100, "what was refused is held nowhere"
    limit(erin, money="0.1")  # lowered: what is under way ends, and is counted
    (held, *_) = calls_hold(endpoint_id=endpoint.pk, most=most)
    calls_settle(endpoint_id=endpoint.pk, calls=[(held, None)], purpose="judging")
    assert used(project, "tokens") == 1000


def test_a_project_has_no_more_jobs_running_than_it_may(project, other_project):
    limit(project, running=1)
    for each in (project, project, other_project, other_project):
        jobs.job_enqueue(kind="t.work", queue="cpu", payload={}, project=each)
    whose = [job.project for _ in range(4) if (job := jobs.job_claim(queues=["cpu"], worker="w")) is not None]
    assert (whose.count(project), whose.count(other_project)) == (1, 2)
    jobs.job_enqueue(kind="t.step", queue="cpu", payload={}, project=project, turn=Turn.SOON)
    assert jobs.job_claim(queues=["cpu"], worker="w").kind == "t.step"


def refused(n, work):
    """Do it n times at the same time; return how many got no room."""
    troubles = together(n, work)
    assert [one for one in troubles if not isinstance(one, (QuotaReached, CapReached))] == []
    return len(troubles)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_ask_at_the_same_time_no_more_get_room_than_there_is(project, policy, endpoint, erin, make_prompt):
    ids = [make_prompt(project).pk]

    def sample():
        sampling_run_create(project=project, checkpoint=policy, prompt_ids=ids, n=1, started_by=erin)

    def call():
        calls_hold(endpoint_id=endpoint.pk, most=[Most(100, 150)], person_id=erin.pk)

    def begin():
        jobs.group_create(project=project, name="g", jobs=[jobs.JobSpec("t.work", "cpu")], started_by=erin)

    claimed, queues = [], itertools.cycle(["cpu", "gpu"])  # workers of one queue meet at one job, of two they don't

    def claim():
        claimed.append(jobs.job_claim(queues=[next(queues)], worker="w"))

    limit(project, samples=3)
    assert (refused(8, sample), used(project, "samples")) == (5, 3)
    limit(erin, tokens=1000)
    assert (refused(8, call), used(erin, "tokens"), Endpoint.objects.get().committed_tokens) == (4, 1000, 1000)
    limit(project, jobs=5)  # three wait to sample
    assert (refused(8, begin), used(project, "jobs")) == (6, 5)
    limit(project, running=1)
    refused(8, claim)
    assert (len([job for job in claimed if job]), used(project, "running")) == (1, 1)


def test_files_that_wait_take_their_room_of_the_project_and_of_the_person(
    project, erin, client_for, api_for, settings, tmp_path
):
    settings.STORE_HOME, api = tmp_path, api_for(erin)
    settings.PROJECT_QUOTAS = {"uploads": Decimal("0.002")}
    settings.PERSON_QUOTAS = {"uploads": Decimal("0.001")}  # 1,048 bytes
    url, line = "/api/v1/projects/letters-test/uploads/?name=a.jsonl", b'{"prompt": "' + b"a" * 600 + b'"}'

    def send(api):
        return api.post(url, line, content_type="application/octet-stream")

    first = send(api)
    assert first.status_code == 201
    second = send(api)
    assert (second.status_code, second.json()["code"]) == (429, "quota_reached")
    assert (
        "The quota of erin leaves no room for this. Files that wait for import: 0 MB of 0 MB" in second.json()["detail"]
    )
    assert used(erin, "uploads") == used(project, "uploads") == len(line)
    assert len(list(uploads().root.iterdir())) == 1, "what was refused is not kept"
    assert client_for(erin).post(f"/p/letters-test/data/uploads/{Upload.objects.get().token}/drop/").status_code == 302
    assert send(api).status_code == 201


def test_a_model_is_imported_where_there_is_room_and_work_that_has_begun_keeps_its_result(
    project, erin, client_for, settings, tmp_path
):
    settings.STORE_DIR, settings.IMPORT_DIRS = tmp_path / "store", [tmp_path / "imports"]
    folder = tmp_path / "imports" / "projects" / "letters-test" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}')
    header = b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    limit(project, disk="0.0000001")  # about a hundred bytes
    url, body = "/p/letters-test/policies/import/", {"name": "mine", "role": "policy", "path": str(folder)}
    page = client_for(erin).post(url, body)
    assert "Models that are kept: 0.00 GiB of 0.00 GiB are used." in page.content.decode()
    assert not Checkpoint.objects.exists()
    assert not list((tmp_path / "store").rglob("*.safetensors"))
    limit(project, disk=1)
    client_for(erin).post(url, body)
    made = Checkpoint.objects.get()
    assert made.n_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert used(erin, "disk") == used(project, "disk") == made.n_bytes


def test_an_owner_sees_who_used_what_and_an_administrator_sets_limits(
    project, alice, erin, bob, operator, client_for, api_for, settings
):
    settings.PERSON_QUOTAS = {"samples": Decimal(500)}
    with transaction.atomic():
        ask(project_id=project.pk, person_id=erin.pk, samples=300, money=12_346_000_000)
        ask(project_id=project.pk, samples=20)
    set_at = f"/quotas/people/{erin.pk}/"
    for user, at in ((erin, URL), (bob, URL), (alice, "/quotas/"), (alice, "/quotas/projects/letters-test/")):
        assert client_for(user).get(at).status_code == 404
    for at in ("quotas/projects/", f"quotas/people/{erin.pk}/"):
        assert api_for(alice).get(f"/api/v1/{at}").status_code == 404
    assert client_for(alice).post(set_at, {"samples": "1"}).status_code == 404

    root = client_for(operator)
    assert root.post("/quotas/projects/letters-test/", {"samples": "320", "money": "99.5"}).status_code == 302
    assert root.post("/quotas/projects/letters-test/", {"samples": "-1"}).status_code == 400
    assert "300 of 500" in root.get("/quotas/?whose=people").content.decode()
    page = client_for(alice).get(URL).content.decode()
    for text in (
        "320 of 320",
        "reached",
        'erin: <span class="mono">300</span>',
        "$12.35 of $99.50",
        "0 MB of 2,048 MB",
    ):
        assert text in page, text
    body = {"samples": 400, "money": None}
    told = api_for(operator).patch("/api/v1/quotas/projects/letters-test/", body, format="json").json()
    shown = {row["name"]: row for row in told["quotas"]}
    assert (Decimal(shown["samples"]["limit"]), Decimal(shown["samples"]["used"])) == (400, 320)
    assert (shown["money"]["limit"], shown["uploads"]["is_default"]) == (None, True)
    assert told == api_for(alice).get("/api/v1/projects/letters-test/quotas/").json()
    refused = api_for(operator).patch("/api/v1/quotas/projects/letters-test/", {"disk": "much"}, format="json")
    assert refused.status_code == 400
    api_for(operator).patch(f"/api/v1/quotas/people/{erin.pk}/", {"tokens": 10}, format="json")
    assert [(row.target, row.data) for row in AuditEvent.objects.filter(verb="quota.set").order_by("id")] == [
        ("project:letters-test", {"samples": "320", "money": "99.5"}),
        ("project:letters-test", {"samples": "400", "money": "default"}),
        (f"user:{erin.pk}", {"tokens": "10"}),
    ]
    assert list(Quota.objects.filter(project=project).values_list("kind", "amount")) == [("samples", 400)]


def test_counting_costs_the_same_however_much_was_used(project, erin):
    def statements():
        with CaptureQueriesContext(connection) as sent:
            lines_of_project(project)
            with transaction.atomic():
                ask(project_id=project.pk, person_id=erin.pk, jobs=1, samples=1, tokens=1)
        return len(sent)

    limit(project, jobs=10_000, samples=10_000, tokens=10_000)
    limit(erin, jobs=10_000, samples=10_000)
    with transaction.atomic():
        ask(project_id=project.pk, person_id=erin.pk, samples=1, tokens=1)
    before = statements()
    Job.objects.bulk_create(Job(kind="t", queue="cpu", project=project, started_by=erin) for _ in range(200))
    Job.objects.bulk_create(
        Job(kind="t", queue="cpu", project=project, started_by=erin, state="succeeded") for _ in range(200)
    )
    assert statements() == before
    assert used(project, "jobs") == used(erin, "jobs") == 200
    assert Used.objects.count() == 2
    if connection.vendor == "sqlite":
        rows = counting.count_of("jobs").rows()
        assert "job_next" in rows.filter(project=project).explain()
        assert "job_by_person" in rows.filter(started_by=erin).explain()


def test_defaults_are_read_from_the_environment_and_what_is_not_understood_stops_the_start(monkeypatch):
    def read(text):
        monkeypatch.setenv("PREFLOOP_PROJECT_QUOTAS", text)
        return env.quotas("PREFLOOP_PROJECT_QUOTAS", {"uploads": 2048})

    assert read("") == {"uploads": 2048}
    assert read("samples=1000, money=2.50") == {"uploads": 2048, "samples": 1000, "money": Decimal("2.50")}
    assert read("uploads=") == {}
    for bad in ("samples", "samples=many", "samples=-1", "=3"):
        with pytest.raises(ImproperlyConfigured, match="PREFLOOP_PROJECT_QUOTAS must hold name=number"):
            read(bad)
    monkeypatch.setenv("PREFLOOP_PROJECT_JOBS", "2")
    with pytest.raises(ImproperlyConfigured, match="no longer read: set PREFLOOP_PROJECT_QUOTAS=running"):
        env.no_longer(PREFLOOP_PROJECT_JOBS="PREFLOOP_PROJECT_QUOTAS=running=…")
