"""Webhooks: what is told, when it is written, how it is signed and sent, and that a dead receiver harms nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.events import services
from apps.events.models import Delivery, Event, Webhook
from apps.events.telling import tell
from apps.events.types import CHOSEN, EVENTS
from apps.events.waiting import LONGEST_WAIT, wait_after
from apps.jobs.models import Job
from apps.rankings.services import adjudication_create, adjudication_withdraw, override_create, override_withdraw
from prefloop.judging.errors import EndpointForbidden

pytestmark = pytest.mark.django_db
API = "/api/v1/projects/letters-test/"


def voted(api_for, who, choice="left", reason=""):
    client = api_for(who, "annotate")
    given = client.post(f"{API}next/").json()
    sent = {"assignment": given["assignment"], "choice": choice, "reason": reason}
    return client.post("/api/v1/votes/", sent, format="json")


def test_the_signature_is_the_one_of_the_specification():
    """The example of standardwebhooks.com, and once more by its text."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signed = services.signature(secret, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.slow
def test_a_vote_is_told_signed_and_once(project, receiver, hook, work, ann, make_comparison, api_for):
    pair = make_comparison(project, models=("gpt-secret", "llama-secret"))
    _, secret = hook("vote.created")
    assert voted(api_for, ann, reason="warmer").status_code == 201
    assert receiver.got == []  # nothing is sent while somebody waits
    work()
    work()
    ((path, headers, body),) = receiver.got
    told = json.loads(body)
    assert (path, told["type"], told["project"]) == ("/hook", "vote.created", "letters-test")
    assert told["data"]["comparison"] == pair.pk
    assert (told["data"]["rater"], told["data"]["reason"]) == ("ann", "warmer")
    assert told["data"]["choice"] in ("first", "second")
    assert b"secret" not in body.replace(b"whsec", b"")  # which model wrote which answer is not told
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert abs(int(headers["webhook-timestamp"]) - timezone.now().timestamp()) < 60
    assert secret not in Webhook.objects.get().sealed_secret
    assert Delivery.objects.get().state == "sent"


@pytest.mark.slow
def test_what_nobody_hears_of_costs_a_vote_nothing_and_what_somebody_hears_of_one_statement(
    project, ann, make_comparison, api_for, hook
):
    def statements():
        make_comparison(project)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert voted(api_for, ann).status_code == 201
        return len([q for q in queries if "SAVEPOINT" not in q["sql"]]), len(
            [q for q in queries if "events_" in q["sql"]]
        )

    statements()
    silent = statements()
    assert silent[1] == 0
    hook("vote.created", "override.created")
    assert statements() == (silent[0] + 1, 1)


def test_an_event_is_written_with_what_it_tells_or_not_at_all(project, hook, receiver, work):
    hook("loop.done")
    project.refresh_from_db()
    with transaction.atomic():
        tell("loop.done", project, loop=1, rounds=2)
        transaction.set_rollback(True)  # the loop's own change failed
    work()
    assert receiver.got == []
    with pytest.raises(AssertionError):
        tell("loop.done", project, loop=1)


@pytest.mark.slow
def test_a_dead_receiver_never_slows_a_vote_and_is_asked_less_and_less(
    project, hook, ann, make_comparison, api_for, work, monkeypatch, receiver
):
    """Nothing of the vote opens a socket; the waits grow, the order stays, and other jobs go on."""
    monkeypatch.setattr(services, "send", lambda **_: (None, "no answer"))
    made, _ = hook("vote.created")
    for _n in range(3):
        make_comparison(project)
        assert voted(api_for, ann).status_code == 201
    waits = []
    for _n in range(4):
        work(later=timedelta(days=_n))
        made.refresh_from_db()
        waits.append(made.waits_until - Delivery.objects.order_by("id").first().last_at)
    assert [round(wait.total_seconds()) for wait in waits] == [10, 30, 90, 270]
    assert list(Delivery.objects.order_by("id").values_list("attempts", flat=True)) == [4, 0, 0]
    work()  # it waits: nothing is asked
    assert list(Delivery.objects.order_by("id").values_list("attempts", flat=True)) == [4, 0, 0]
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    monkeypatch.undo()
    work(later=timedelta(days=5))
    assert [json.loads(body)["id"] for _, _, body in receiver.got] == [
        f"evt_{e.pk}" for e in Event.objects.order_by("id")
    ]


@pytest.mark.slow
def test_a_delivery_is_given_up_after_ten_attempts_and_can_be_sent_again(project, hook, receiver, work):
    hook("loop.done")
    project.refresh_from_db()
    tell("loop.done", project, loop=1, rounds=1)
    receiver.answer = 500
    for n in range(12):
        work(later=timedelta(days=n))
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.status) == ("failed", 10, 500)
    assert delivery.said == "it answered 500"
    assert len(receiver.got) == 10
    assert wait_after(50) == LONGEST_WAIT
    receiver.answer = 204
    services.delivery_retry(delivery=delivery)
    work()
    delivery.refresh_from_db()
    assert delivery.state == "sent"
    with pytest.raises(services.NothingToSend):
        services.delivery_retry(delivery=delivery)


def test_a_redirect_is_not_followed(project, hook, receiver, work):
    made, _ = hook("loop.done")
    receiver.answer = 302
    services.webhook_ping(webhook=made, now=timezone.now())
    work()
    assert (Delivery.objects.get().state, Delivery.objects.get().status) == ("pending", 302)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "http://169.254.169.254/latest",
        "http://[::1]/x",
        "ftp://example.org/",
        "http://2130706433/",
    ],
)
def test_an_address_is_guarded_like_an_endpoint_when_it_is_saved(project, alice, url):
    with pytest.raises(EndpointForbidden):
        services.webhook_create(project=project, url=url, kinds=["loop.done"], by=alice)


def test_and_again_when_it_is_called(project, hook, receiver, work, settings):
    made, _ = hook("loop.done")
    settings.ENDPOINT_ALLOW = []
    services.webhook_ping(webhook=made, now=timezone.now())
    work()
    assert receiver.got == []
    assert "private network" in Delivery.objects.get().said


def test_two_workers_at_once_start_one_job_and_make_each_attempt_once(project, hook, receiver):
    made, _ = hook("loop.done")
    services.webhook_ping(webhook=made, now=timezone.now())
    assert services.deliveries_start(now=timezone.now()) == 1
    assert services.deliveries_start(now=timezone.now()) == 0
    Job.objects.all().update(state="succeeded")  # both looked before either inserted: the key is the same
    services.deliveries_start(now=timezone.now())
    assert Job.objects.count() == 1
    head = services.delivery_claim(webhook=made, now=timezone.now())
    assert head.attempts == 1
    Delivery.objects.update(attempts=5)  # another worker was faster
    stale = Delivery.objects.filter(pk=head.pk, attempts=head.attempts, state="pending")
    assert not stale.update(attempts=2)


def test_events_are_spread_once_to_those_who_hear_of_them(project, other_project, hook, receiver, alice):
    hook("loop.done")
    project.refresh_from_db()
    for n in range(3):
        tell("loop.done", project, loop=n, rounds=1)
    Event.objects.create(project=other_project, kind="loop.done", data={})
    assert services.events_spread(now=timezone.now()) == 4
    assert services.events_spread(now=timezone.now()) == 0
    Event.objects.update(spread_at=None)  # a worker died after it had made the deliveries
    services.events_spread(now=timezone.now())
    assert Delivery.objects.count() == 3


@pytest.mark.slow
def test_decisions_and_adjudications_are_told(project, hook, bob, make_comparison, make_judge, make_verdict, make_vote):
    hook("override.created", "override.withdrawn", "adjudication.created", "adjudication.withdrawn")
    project.refresh_from_db()
    judge = make_judge(project, "j", order_policy="random")
    pair, split = make_comparison(project), make_comparison(project)
    make_verdict(pair, "first", judge=judge)
    now = timezone.now()
    override_create(comparison=pair, judge=judge, user=bob, now=now, choice="second", reason="kinder")
    override_withdraw(comparison=pair, user=bob, now=now)
    adjudication_create(comparison=split, user=bob, choice="tie", now=now)
    adjudication_withdraw(comparison=split, user=bob, now=now)
    told = [(one.kind, one.data["choice"]) for one in Event.objects.order_by("id")]
    assert told == [
        ("override.created", "second"),
        ("override.withdrawn", ""),
        ("adjudication.created", "tie"),
        ("adjudication.withdrawn", "withdrawn"),
    ]
    assert Event.objects.first().data["judge_outcome"] == "first"


def test_a_judge_that_stops_is_told_with_the_reason(project, hook):
    from apps.events.telling import job_ended

    hook("judge.paused")
    job = Job.objects.create(project=project, kind="judging.chunk", queue="cpu", title="Ask j")
    for failure in ("data", "cap_reached"):
        job_ended(job.pk, failure, "the cap is reached")
    assert Event.objects.get().data == {
        "job": job.pk, "title": "Ask j", "why": "cap_reached", "error": "the cap is reached",
    }  # fmt: skip


def test_a_failed_job_tells_it_in_its_transaction(project, hook):
    from apps.jobs.services.holding import job_begin, job_claim, job_fail

    hook("judge.paused")
    Job.objects.create(project=project, kind="judging.chunk", queue="cpu", title="Ask j")
    job = job_claim(queues=["cpu"], worker="w")
    job_begin(job_id=job.pk, token=job.token)
    assert job_fail(job_id=job.pk, token=job.token, failure_class="judge_refused", error="401")
    assert not job_fail(job_id=job.pk, token=job.token, failure_class="judge_refused", error="401")
    assert Event.objects.get().data["error"] == "401"


def test_every_event_is_told_somewhere():
    """The declared names are those in the code: none is only declared."""
    from pathlib import Path

    code = "\n".join(
        path.read_text("utf-8") for path in Path("apps").rglob("*.py") if path.name not in ("types.py", "forms.py")
    )
    missing = [name for name in EVENTS if f'"{name}"' not in code and f'"{name.split(".")[0]}.{{' not in code]
    assert missing == ["ping"]
    assert "ping" not in CHOSEN


# --- pages and API ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_only_owners_see_make_and_change_webhooks(project, hook, alice, erin, bob, ann, charlie, client_for, api_for):
    made, _ = hook("loop.done")
    services.webhook_ping(webhook=made, now=timezone.now())
    delivery = Delivery.objects.get()
    page, api = "/p/letters-test/settings/webhooks/", f"{API}webhooks/"
    one = f"{made.pk}/"
    for who in (erin, bob, ann, charlie):
        assert client_for(who).get(page).status_code == client_for(who).get(page + one).status_code == 404
        assert api_for(who).get(api).status_code == api_for(who).get(api + one).status_code == 404
        assert api_for(who).get(f"{api}{one}deliveries/").status_code == 404
        assert (
            api_for(who).post(api, {"url": "https://example.org/", "kinds": ["loop.done"]}, format="json").status_code
            == 404
        )
        for end in ("switch/", "ping/", "delete/", f"log/{delivery.pk}/again/"):
            assert client_for(who).post(page + one + end).status_code == 404
        assert api_for(who).patch(api + one, {"active": False}, format="json").status_code == 404
        assert api_for(who).delete(api + one).status_code == 404
    assert Webhook.objects.get().active
    assert client_for(alice).get(page).status_code == client_for(alice).get(page + one).status_code == 200


@pytest.mark.slow
def test_the_page_shows_the_secret_once_and_the_log_without_labels(
    project, receiver, alice, ann, make_comparison, client_for, api_for, work
):
    client = client_for(alice)
    page = "/p/letters-test/settings/webhooks/"
    refused = client.post(page, {"url": "http://10.0.0.1/", "kinds": ["vote.created"]})
    assert refused.status_code == 422
    assert "private network" in refused.content.decode()
    answer = client.post(page, {"url": receiver.url, "kinds": ["vote.created"]})
    assert "whsec_" in answer.content.decode()
    assert "whsec_" not in client.get(page).content.decode()
    make_comparison(project)
    voted(api_for, ann, reason="canary-reason")
    work()
    shown = client.get(f"{page}{Webhook.objects.get().pk}/").content.decode()
    assert "vote.created" in shown
    assert "canary-reason" not in shown


def test_programs_make_switch_test_and_delete(project, receiver, alice, api_for, work):
    client = api_for(alice)
    wrong = client.post(f"{API}webhooks/", {"url": receiver.url, "kinds": ["nonsense"]}, format="json")
    assert wrong.status_code == 400
    made = client.post(f"{API}webhooks/", {"url": receiver.url, "kinds": ["loop.done"]}, format="json").json()
    assert made["secret"].startswith("whsec_")
    one = f"{API}webhooks/{made['id']}/"
    assert "secret" not in client.get(one).json()
    assert client.post(f"{one}ping/").status_code == 201
    work()
    (told,) = client.get(f"{one}deliveries/").json()
    assert (told["kind"], told["state"], told["status"]) == ("ping", "sent", 204)
    assert client.post(f"{one}deliveries/{told['id']}/again/").status_code == 409
    project.refresh_from_db()
    assert project.listened == ["loop.done"]
    assert client.patch(one, {"active": False}, format="json").json()["active"] is False
    project.refresh_from_db()
    assert project.listened == []
    assert client.delete(one).status_code == 204
    assert not Webhook.objects.exists()
