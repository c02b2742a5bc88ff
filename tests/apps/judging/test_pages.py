"""Judges: who sees and makes them, what a key may never do, and what their figures mean."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.jobs.models import Job
from apps.labels.models import Judge, JudgingRun, Preference
from apps.policies.endpoints import endpoint_create, endpoint_key
from apps.policies.models import Checkpoint, Endpoint

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/judges/"
CANARY = "sk-canary-5e1f"


@pytest.fixture(autouse=True)
def _no_names(monkeypatch):
    """No test looks a name up on the network."""
    monkeypatch.setattr("prefloop.judging.addresses.socket.getaddrinfo", _addresses)


def _addresses(host, port, *_args, **_options):
    known = {"localhost": "127.0.0.1", "internal.example": "10.0.0.7"}
    if host in known or host.replace(".", "").isdigit() or ":" in host:
        address = known.get(host, host)
    elif host.endswith(".example"):
        address = "93.184.216.34"
    else:
        raise socket.gaierror("no such name")
    return [(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.fixture
def server():
    """An endpoint on this machine that serves two models and writes down what it was sent."""
    seen = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("Authorization")))
            body = json.dumps({"data": [{"id": "big"}, {"id": "small"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    http.seen, http.host = seen, f"127.0.0.1:{http.server_port}"
    yield http
    http.shutdown()
    http.server_close()


@pytest.fixture
def hosted(project):
    endpoint = endpoint_create(
        project=project, name="hosted", base_url="https://api.example/v1", model="big", api_key=CANARY
    )
    return Judge.objects.create(project=project, name="hosted-judge", kind="llm", endpoint=endpoint, criterion="kind")


def llm(**changes):
    values = {"name": "judge-1", "endpoint": "", "endpoint_name": "there", "base_url": "https://api.example/v1"}
    values |= {"model": "big", "api_key": CANARY, "criterion": "kinder", "mode": "text", "order_policy": "both_agree"}
    return values | {"temperature": 0, "max_tokens": 200, "template": ""} | changes


@pytest.mark.slow
def test_leads_read_engineers_change_and_nobody_else_learns_anything(
    hosted, make_comparison, project, alice, bob, erin, ann, charlie, client_for
):
    make_comparison(project)
    one = f"{BASE}{hosted.pk}/"
    reads = (BASE, one, f"{one}runs/")
    changes = (f"{BASE}new/", f"{one}edit/", f"{BASE}endpoints/{hosted.endpoint_id}/")
    posts = (f"{one}ask/", f"{one}retire/", f"{one}test/", f"{BASE}new/?kind=llm", f"{one}edit/", changes[2])
    for person in (alice, erin, bob):
        for path in reads:
            assert client_for(person).get(path).status_code == 200, path
    for person in (ann, charlie):
        for path in (*reads, *changes):
            assert client_for(person).get(path).status_code == 404, path
    for person in (ann, bob, charlie):
        for path in posts:
            assert client_for(person).post(path, {"which": "all"}).status_code == 404, path
        for path in changes:
            assert client_for(person).get(path).status_code == 404, path
    for person in (erin, alice):
        for path in changes:
            assert client_for(person).get(path).status_code == 200, path
    for path in (one, f"{one}runs/", f"{one}edit/", f"{one}ask/", f"{one}retire/", f"{one}test/", changes[2]):
        theirs = path.replace("letters-test", "elsewhere")  # as the owner of another project
        assert client_for(charlie).post(theirs, {}).status_code in {404, 405}
        assert client_for(charlie).get(theirs).status_code in {404, 405}
    hosted.refresh_from_db()
    assert hosted.retired_at is None
    assert not JudgingRun.objects.exists()


@pytest.mark.slow
def test_a_key_is_in_no_answer_to_anybody(hosted, erin, alice, bob, client_for):
    one = f"{BASE}{hosted.pk}/"
    for person in (erin, alice, bob):
        for path in (BASE, one, f"{one}edit/", f"{BASE}endpoints/{hosted.endpoint_id}/", f"{one}runs/", "/api/schema/"):
            page = client_for(person).get(path).content.decode()
            assert CANARY not in page, path
            assert hosted.endpoint.encrypted_key not in page, path
    refused = client_for(erin).post(f"{BASE}new/?kind=llm", llm(name="bad name"))
    assert refused.status_code == 400
    assert CANARY not in refused.content.decode()
    assert CANARY not in Endpoint.objects.get().encrypted_key


def test_a_language_model_judge_is_made_with_its_endpoint(project, erin, client_for):
    answer = client_for(erin).post(f"{BASE}new/?kind=llm", llm())
    judge = Judge.objects.get()
    assert answer["Location"] == f"{BASE}{judge.pk}/"
    assert (judge.name, judge.version, judge.criterion, judge.template) == ("judge-1", 1, "kinder", "")
    assert judge.options == {"temperature": 0.0, "max_tokens": 200}
    assert endpoint_key(judge.endpoint) == CANARY


def test_the_built_in_template_unchanged_is_not_kept_as_one_s_own(project, erin, client_for):
    page = client_for(erin).get(f"{BASE}new/?kind=llm")
    built_in = page.context["form"].initial["template"]
    client_for(erin).post(f"{BASE}new/?kind=llm", llm(template=built_in.replace("\n", "\r\n") + "\r\n"))
    client_for(erin).post(f"{BASE}new/?kind=llm", llm(name="own", endpoint_name="e2", template=built_in + "Be strict."))
    assert Judge.objects.get(name="judge-1").template == ""
    assert Judge.objects.get(name="own").template.endswith("Be strict.")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "a b"}, "is not a valid name"),
        ({"name": "hosted-judge"}, "There is already a judge with this name"),
        ({"endpoint_name": "hosted"}, "an endpoint &#x27;hosted&#x27; already exists"),
        ({"criterion": " "}, "This field is required"),
        ({"model": ""}, "A new endpoint needs its model"),
        ({"template": "[system]\nx\n[user]\n{{prompt}}"}, "exactly once in [user]"),
        ({"template": "[system]\nx\n[user]\n{{ settings }}"}, "unknown placeholder"),
        ({"template": "{% include 'secret' %}"}, "needs a line [system]"),
        ({"api_key": "sk-\u00e9"}, "characters that no key has"),
        ({"base_url": "ftp://api.example"}, "must begin with http"),
        ({"base_url": "https://u:p@api.example/v1"}, "carries a user or a password"),
    ],
)
def test_the_form_refuses_with_a_reason_and_saves_nothing(changes, why, hosted, erin, client_for):
    page = client_for(erin).post(f"{BASE}new/?kind=llm", llm(**changes))
    assert page.status_code == 400
    assert why in page.content.decode()
    assert Judge.objects.count() == Endpoint.objects.count() == 1


PRIVATE = (
    "http://127.0.0.1:9/v1", "http://[::1]:9/v1", "http://0.0.0.0/v1", "http://169.254.169.254/latest",
    "http://[fd00::1]/v1", "http://[::ffff:10.0.0.1]/v1", "http://2130706433/v1", "http://0x7f.1/v1",
    "http://localhost.:80/v1", "http://internal.example/v1", "http://a#@b/v1", "http://a\\b/v1", "http://１２７.0.0.1/v1",
)  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_an_address_that_must_not_be_called_is_refused_at_save_and_by_the_test_button(url, hosted, erin, client_for):
    page = client_for(erin).post(f"{BASE}new/?kind=llm", llm(base_url=url))
    assert page.status_code == 400
    assert Endpoint.objects.count() == 1
    tested = client_for(erin).post(f"{BASE}new/?kind=llm", llm(base_url=url, action="test"))
    assert "banner-error" in tested.content.decode()
    moved = client_for(erin).post(f"{BASE}endpoints/{hosted.endpoint_id}/", {"base_url": url, "api_key": ""})
    assert moved.status_code == 400
    hosted.endpoint.refresh_from_db()
    assert hosted.endpoint.base_url == "https://api.example/v1"


@pytest.mark.slow
def test_the_refusal_of_a_private_address_names_the_setting(erin, client_for, server, settings):
    refused = client_for(erin).post(f"{BASE}new/?kind=llm", llm(base_url=f"http://{server.host}/v1"))
    assert f"add {server.host} to PREFLOOP_ENDPOINT_ALLOW" in refused.content.decode()
    settings.ENDPOINT_ALLOW = [server.host]
    assert client_for(erin).post(f"{BASE}new/?kind=llm", llm(base_url=f"http://{server.host}/v1")).status_code == 302


@pytest.mark.slow
def test_the_connection_is_tested_without_saving(erin, client_for, server, settings):
    settings.ENDPOINT_ALLOW = [server.host]
    values = llm(base_url=f"http://{server.host}/v1", action="test")
    page = client_for(erin).post(f"{BASE}new/?kind=llm", values)
    assert "It responds and serves big." in page.content.decode()
    assert CANARY not in page.content.decode()
    part = client_for(erin).post(f"{BASE}new/?kind=llm", values | {"model": "huge"}, headers={"HX-Request": "true"})
    assert "does not serve" in part.content.decode()
    assert "<html" not in part.content.decode()
    assert server.seen[0] == ("/v1/models", f"Bearer {CANARY}")
    assert not Endpoint.objects.exists()


@pytest.mark.slow
def test_a_stored_key_goes_to_its_own_url_and_another_url_wipes_it(hosted, erin, client_for, server, settings):
    settings.ENDPOINT_ALLOW = [server.host]
    path, elsewhere = f"{BASE}endpoints/{hosted.endpoint_id}/", f"http://{server.host}/v1"
    client_for(erin).post(path, {"base_url": elsewhere, "api_key": "", "action": "test"})
    assert server.seen == [("/v1/models", None)]
    page = client_for(erin).post(path, {"base_url": elsewhere, "api_key": ""}, follow=True)
    assert "the stored key was deleted" in page.content.decode()
    endpoint = Endpoint.objects.get()
    assert (endpoint.base_url, endpoint.encrypted_key) == (elsewhere, "")
    client_for(erin).post(f"{BASE}{hosted.pk}/test/")
    assert server.seen[-1] == ("/v1/models", None)
    client_for(erin).post(path, {"base_url": elsewhere, "api_key": "sk-new"})
    client_for(erin).post(f"{BASE}{hosted.pk}/test/")
    assert server.seen[-1] == ("/v1/models", "Bearer sk-new")


@pytest.mark.slow
def test_an_edit_makes_the_next_version_and_leaves_the_old_one(
    hosted, make_verdict, make_comparison, project, erin, client_for
):
    make_verdict(make_comparison(project), judge=hosted)
    values = llm(endpoint=hosted.endpoint_id, endpoint_name="", base_url="", model="", api_key="", criterion="shorter")
    answer = client_for(erin).post(f"{BASE}{hosted.pk}/edit/", values)
    new = Judge.objects.get(version=2)
    assert answer["Location"] == f"{BASE}{new.pk}/"
    hosted.refresh_from_db()
    assert (hosted.criterion, new.criterion, new.name) == ("kind", "shorter", "hosted-judge")
    assert (hosted.verdicts.count(), new.verdicts.count()) == (1, 0)
    assert "There is a newer version" in client_for(erin).get(f"{BASE}{hosted.pk}/").content.decode()


def test_reward_models_and_the_world_are_judges_too(project, other_project, erin, client_for):
    reward = Checkpoint.objects.create(project=project, name="rm", role="reward", path="r", fingerprint="r")
    policy = Checkpoint.objects.create(project=project, name="sft", role="policy", path="p", fingerprint="p")
    theirs = Checkpoint.objects.create(project=other_project, name="t", role="reward", path="t", fingerprint="t")
    path = f"{BASE}new/?kind=reward_model"
    for wrong in (policy, theirs):
        assert client_for(erin).post(path, {"name": "rm-judge", "checkpoint": wrong.pk}).status_code == 400
    assert client_for(erin).post(path, {"name": "rm-judge", "checkpoint": reward.pk}).status_code == 302
    assert client_for(erin).get(f"{BASE}new/?kind=world").status_code == 404
    type(project).objects.filter(pk=project.pk).update(world="letters")
    assert client_for(erin).post(f"{BASE}new/?kind=world", {"name": "w", "noise": 0.5}).status_code == 302
    assert Judge.objects.get(name="w").options == {"noise": 0.5, "soft": False}
    assert Judge.objects.get(name="rm-judge").order_policy == "random"


@pytest.mark.slow
def test_what_a_judge_said_is_shown_as_text_of_a_stranger(
    hosted, make_comparison, make_verdict, project, bob, client_for
):
    evil = "<script>alert(1)</script> **sure** ![x](https://evil.example/leak)"
    make_verdict(make_comparison(project), judge=hosted, raw=evil, rationale=evil)
    make_verdict(make_comparison(project), "", judge=hosted, raw="[[Z]]")
    page = client_for(bob).get(f"{BASE}{hosted.pk}/").content.decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<strong>sure</strong>" in page
    assert "Unreadable" in page
    only = client_for(bob).get(f"{BASE}{hosted.pk}/?state=unparseable").content.decode()
    assert "[[Z]]" in only
    assert "<strong>sure" not in only


def test_a_simulated_judge_says_so_everywhere(project, bob, client_for):
    endpoint = endpoint_create(project=project, name="sim", base_url="simulated://x", model="m", is_simulated=True)
    judge = Judge.objects.create(
        project=project, name="sim", kind="llm", endpoint=endpoint, criterion="c", is_simulated=True
    )
    for path in (BASE, f"{BASE}{judge.pk}/"):
        assert "simulated" in client_for(bob).get(path).content.decode()


def test_the_simulated_scheme_is_no_way_in_for_others(project, erin, client_for):
    assert client_for(erin).post(f"{BASE}new/?kind=llm", llm(base_url="simulated://x")).status_code == 400


@pytest.mark.slow
def test_use_for_labels_is_a_lead_s_and_makes_the_labels_again(
    hosted, make_judge, make_comparison, make_verdict, project, ann, bob, charlie, client_for
):
    comparison = make_comparison(project)
    other = make_judge(project, "other", order_policy="random")
    make_verdict(comparison, "first", judge=other)
    make_verdict(comparison, "second", judge=hosted, order="01")
    make_verdict(comparison, "second", judge=hosted, order="10")
    for judge, outcome in ((other, "first"), (hosted, "second")):
        path = f"{BASE}{judge.pk}/use-for-labels/"
        assert client_for(ann).post(path).status_code == 404
        assert client_for(charlie).post(path).status_code == 404
        assert client_for(bob).post(path).status_code == 302
        preference = Preference.objects.get()
        assert (preference.outcome, preference.source) == (outcome, f"judge:{judge.name}")
    project.refresh_from_db()
    assert project.label_judge == "hosted-judge"


def test_labels_of_a_large_project_are_made_again_by_a_job(
    hosted, make_comparison, make_verdict, project, bob, client_for, monkeypatch
):
    from apps.jobs.drain import drain

    comparison = make_comparison(project)
    for order in ("01", "10"):
        make_verdict(comparison, "second", judge=hosted, order=order)
    monkeypatch.setattr("apps.labels.services.AT_ONCE", 0)
    client_for(bob).post(f"{BASE}{hosted.pk}/use-for-labels/")
    assert not Preference.objects.exists()
    drain(["cpu"], worker_name="test")
    assert Job.objects.get().state == "succeeded", Job.objects.get().error
    assert Preference.objects.get().outcome == "second"


@pytest.mark.slow
@pytest.mark.parametrize("one", [False, True])
def test_pages_cost_the_same_for_more_rows(
    one, hosted, make_judge, make_comparison, make_verdict, make_vote, project, bob, client_for
):
    path = f"{BASE}{hosted.pk}/" if one else BASE
    client = client_for(bob)

    def more(n):
        for _ in range(n):
            comparison = make_comparison(project)
            make_vote(comparison)
            make_verdict(comparison, judge=hosted)
            make_verdict(comparison, judge=None if one is False else hosted, order="10")

    def cost():
        more(1)  # so that the kept figures are stale each time
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    more(2)
    client.get(path)
    few = cost()
    more(8)
    assert cost() == few
