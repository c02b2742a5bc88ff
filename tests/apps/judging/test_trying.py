"""Trying drafts, attacks, asking again, what endpoints can do and cost: the pages of it, and who may."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.judging.figures import judge_figures
from apps.judging.models import AttackTrial
from apps.judging.selectors import failed_only
from apps.judging.specs import spec_of
from apps.labels.models import Judge, JudgingRun
from apps.policies.endpoints import (
    PROBE_LIMITS,
    EndpointKeyUnreadable,
    endpoint_create,
    endpoint_keeps_schema,
    endpoint_key,
    endpoint_update,
)
from apps.policies.models import Endpoint, Spend
from prefloop.judging.asking import Question
from prefloop.judging.judge import pair_judge
from prefloop.types import AS_STORED
from workers.asking import opened

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/judges/"
CANARY = "sk-canary-77aa"


@pytest.fixture
def endpoint(project, settings):
    settings.ENDPOINT_ALLOW = ["127.0.0.1:9"]
    return endpoint_create(project=project, name="there", base_url="http://127.0.0.1:9/v1", model="big", api_key=CANARY)


@pytest.fixture
def judge(project, endpoint):
    return Judge.objects.create(project=project, name="judge", kind="llm", endpoint=endpoint, criterion="kinder")


def draft(there, **changes):
    values = {"name": "draft", "endpoint": there.pk, "criterion": "shorter at equal meaning", "mode": "text"}
    values |= {"order_policy": "both_agree", "temperature": 0, "max_tokens": 200, "template": ""}
    return values | changes


HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.mark.parametrize("mode", ["text", "json", "five", "logprob", "soft", "additive", "rubric"])
def test_a_draft_is_shown_on_a_real_pair_and_nothing_is_sent(
    mode, endpoint, make_comparison, project, erin, client_for
):
    make_comparison(project, ("<b>good</b> one", "poor one"))
    answer = client_for(erin).post(f"{BASE}new/?kind=llm", draft(endpoint, mode=mode, action="preview"), **HTMX)
    page = answer.content.decode()
    assert "&lt;b&gt;good&lt;/b&gt; one" in page
    assert "shorter at equal meaning" in page
    assert ("poor one" in page) == (mode not in ("additive", "rubric"))
    assert not Job.objects.exists()
    assert not Judge.objects.exists()


def test_a_template_that_fits_comes_with_another_way_of_answering_unless_it_is_one_s_own(endpoint, erin, client_for):
    client = client_for(erin)
    page = client.post(f"{BASE}new/?kind=llm", draft(endpoint, mode="additive", action="template"), **HTMX)
    assert "{{answer}}" in page.content.decode()
    own = "[system]\nMine.\n[user]\n{{criterion}} {{prompt}} {{first_shown}} {{second_shown}}"
    page = client.post(
        f"{BASE}new/?kind=llm", draft(endpoint, mode="additive", action="template", template=own), **HTMX
    )
    assert "Mine." in page.content.decode()


@pytest.mark.slow
def test_a_trial_is_a_job_of_five_pairs_whose_result_is_shown_as_text(
    endpoint, make_comparison, project, erin, bob, charlie, client_for
):
    for _ in range(7):
        make_comparison(project)
    page = client_for(erin).post(f"{BASE}new/?kind=llm", draft(endpoint, action="trial"), **HTMX).content.decode()
    job = Job.objects.get(kind="judging.trial")
    assert f'src="{BASE}trials/{job.pk}/"' in page
    assert len(job.payload["comparisons"]) == 5
    assert CANARY not in json.dumps(job.payload)
    call = {"comparison": job.payload["comparisons"][0], "of": "01", "sample": 0, "state": "ok", "outcome": "first"}
    call |= {"p_first": None, "value": None, "rationale": "", "raw": "<script>x</script>\n[[A]]", "seconds": 0.5}
    labels = {str(call["comparison"]): {"state": "ok", "outcome": "first", "p_first": 1.0}}
    Job.objects.update(state="succeeded", result={"calls": [call], "labels": labels, "nanos": 400_000})
    shown = client_for(erin).get(f"{BASE}trials/{job.pk}/")
    text = shown.content.decode()
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    assert "$0.0004" in text
    assert shown["X-Poll"] == "stop"
    for person in (bob, charlie):
        assert client_for(person).get(f"{BASE}trials/{job.pk}/").status_code == 404
        assert client_for(person).get(f"/p/elsewhere/judges/trials/{job.pk}/").status_code == 404


@pytest.mark.slow
def test_a_draft_of_any_kind_is_tried_from_its_form(make_comparison, project, erin, client_for):
    pair = make_comparison(project, ("Thanks, Maria", "Thanks"))
    client, new = client_for(erin), f"{BASE}new/?kind=rules"
    assert "Try on five pairs" in client.get(new).content.decode()
    rules = {"rules": '[{"check": "contains", "text": "Maria"}]', "count": "share"}
    client.post(new, rules | {"action": "trial"}, **HTMX)
    drain(["cpu"], worker_name="w")
    job = Job.objects.get(kind="judging.trial")
    assert job.result["labels"][str(pair.pk)]["outcome"] == "first"
    page = client.get(f"{BASE}trials/{job.pk}/").content.decode()
    assert "at least 1 is asked for" in page
    assert "Both answers" in page
    assert not Judge.objects.exists()
    refused = client.post(new, rules | {"rules": "[1", "action": "trial"}, **HTMX).content.decode()
    assert "the rules are not valid JSON" in refused


def test_what_stands_in_the_way_of_a_trial_is_said(endpoint, make_comparison, project, erin, client_for):
    client = client_for(erin)
    for changes, words in (
        ({}, "there are no comparisons to try it on"),
        ({"endpoint": ""}, "Choose an existing endpoint: a new one is saved with the judge first."),
        ({"template": "no parts"}, "needs a line [system]"),
        ({"criterion": ""}, "Criterion"),
    ):
        page = client.post(f"{BASE}new/?kind=llm", draft(endpoint, action="trial", **changes), **HTMX)
        assert words in page.content.decode()
    assert not Job.objects.exists()


def test_another_criterion_is_the_next_version_of_the_judge(judge, erin, client_for):
    client_for(erin).post(f"{BASE}{judge.pk}/edit/", draft(judge.endpoint, mode="additive", samples=5))
    made = Judge.objects.get(version=2)
    assert (made.name, made.criterion, made.mode) == ("judge", "shorter at equal meaning", "additive")
    assert made.options == {"temperature": 0.0, "max_tokens": 200, "samples": 5}
    client_for(erin).post(f"{BASE}{judge.pk}/edit/", draft(judge.endpoint, mode="additive", temperature=""))
    # equal grades several times would be no several grades: a draw needs a temperature
    assert Judge.objects.get(version=3).options == {"temperature": 0.7, "max_tokens": 200, "samples": 3}
    judge.refresh_from_db()
    assert judge.criterion == "kinder"


@pytest.mark.slow
def test_an_ensemble_is_made_of_judges_that_there_are(project, make_judge, erin, client_for):
    one, two = make_judge(project, "one", kind="world"), make_judge(project, "two", kind="world")
    client = client_for(erin)
    assert (
        client.post(f"{BASE}new/?kind=ensemble", {"name": "x", "members": [one.pk], "rule": "majority"}).status_code
        == 400
    )
    client.post(f"{BASE}new/?kind=ensemble", {"name": "both", "members": [one.pk, two.pk], "rule": "majority"})
    made = Judge.objects.get(kind="ensemble")
    assert made.options == {"members": [one.pk, two.pk], "rule": "majority"}
    page = client.get(f"{BASE}{made.pk}/").content.decode()
    assert "Members" in page
    refused = client.post(f"{BASE}new/?kind=ensemble", {"name": "w", "members": [one.pk, two.pk], "rule": "weighted"})
    assert "label more first" in refused.content.decode()


@pytest.mark.slow
def test_what_failed_is_asked_again_and_only_that(judge, make_comparison, make_verdict, project, erin, bob, client_for):
    bad, mended, good = (make_comparison(project) for _ in range(3))
    make_verdict(bad, "", judge=judge, state="error")
    make_verdict(bad, "first", judge=judge, order="10")
    make_verdict(mended, "", judge=judge, state="unparseable")
    make_verdict(mended, "first", judge=judge, sample=1)
    make_verdict(good, "first", judge=judge)
    assert list(failed_only(judge)) == [bad]
    assert "Ask again" in client_for(erin).get(f"{BASE}{judge.pk}/").content.decode()
    assert client_for(bob).post(f"{BASE}{judge.pk}/retry/").status_code == 404
    client_for(erin).post(f"{BASE}{judge.pk}/retry/")
    run = JudgingRun.objects.get()
    assert (run.comparison_ids, run.purpose, run.retry_states) == ([bad.pk], "retry", ["error", "unparseable"])


@pytest.mark.slow
def test_attacks_are_started_by_engineers_and_their_flips_are_on_the_card(
    judge, make_comparison, make_verdict, project, erin, bob, client_for
):
    pairs = [make_comparison(project) for _ in range(4)]
    for pair in pairs:
        make_verdict(pair, "first", judge=judge)
        for attack, flipped in (("control", False), ("order", pair is pairs[0]), ("praise", False)):
            AttackTrial.objects.create(
                judge=judge,
                comparison=pair,
                corpus="1",
                attack=attack,
                side="second",
                state="ok",
                outcome="second" if flipped else "first",
                flipped=flipped,
            )
    page = client_for(bob).get(BASE).content.decode()
    assert "Flipped by attacks" in page
    assert "12.5" in page  # 1 of 8, by hand
    page = client_for(bob).get(f"{BASE}{judge.pk}/").content.decode()
    assert "the worse answer won 12 % of the time; without one it won 0 %" in page
    assert client_for(bob).post(f"{BASE}{judge.pk}/attack/", {"n": 3}).status_code == 404
    client_for(erin).post(f"{BASE}{judge.pk}/attack/", {"n": 3})
    assert Job.objects.get(kind="judging.attack").payload == {"judge": judge.pk, "n": 3, "seed": 0}


@pytest.mark.slow
def test_the_card_tells_the_ceiling_the_length_bias_and_the_cost(
    judge, make_comparison, make_verdict, make_vote, project
):
    for k in range(4):
        pair = make_comparison(project, ("a long answer", "short"))
        make_verdict(
            pair, "first" if k else "second", judge=judge, usage={"prompt_tokens": 900, "completion_tokens": 50}
        )
        for rater, choice in (("ann", "first"), ("bob", "first"), ("cleo", "first" if k else "second")):
            make_vote(pair, choice, rater=rater)
    Endpoint.objects.update(input_price=Decimal(2), output_price=Decimal(8))
    found = judge_figures(project)[judge.pk]
    # by hand: two people agree on 3 of 3 pairs of raters thrice, on 1 of 3 once: (3 + 1/3) / 4
    assert found.ceiling.rate == pytest.approx(10 / 12)
    assert (found.longer.rate, found.longer.n) == (0.75, 4)
    # a call is 900 x $2 and 50 x $8 a million, twice a comparison, a thousand times
    assert found.cost_per_1000 == pytest.approx(2 * 1000 * (900 * 2 + 50 * 8) / 1e6)


def test_a_judge_whose_endpoint_has_no_price_costs_an_unknown_amount(
    judge, make_comparison, make_verdict, project, bob, client_for
):
    make_verdict(make_comparison(project), judge=judge, usage={"prompt_tokens": 900, "completion_tokens": 50})
    assert judge_figures(project)[judge.pk].cost_per_1000 is None
    page = client_for(bob).get(f"{BASE}{judge.pk}/").content.decode()
    assert "No price is set for its endpoint." in page
    assert "$0.00" not in page + client_for(bob).get(BASE).content.decode()
    Endpoint.objects.update(input_price=Decimal(2))
    assert "No price is set" not in client_for(bob).get(f"{BASE}{judge.pk}/").content.decode()


# --- endpoints -------------------------------------------------------------------------------------------------------


def test_prices_and_caps_are_set_and_odd_ones_refused(endpoint, erin, bob, client_for):
    page = f"{BASE}endpoints/{endpoint.pk}/"
    values = {"action": "spending", "input_price": "2.5", "output_price": "10", "cap_tokens": "", "cap_cost": "20"}
    client_for(erin).post(page, values)
    endpoint.refresh_from_db()
    assert (endpoint.input_price, endpoint.cap_tokens, endpoint.cap_cost) == (Decimal("2.5"), None, Decimal(20))
    assert endpoint.at_once == 8
    assert endpoint_key(endpoint) == CANARY
    client_for(erin).post(page, values | {"at_once": "40"})
    endpoint.refresh_from_db()
    assert endpoint.at_once == 40
    for odd in ({"cap_cost": "-1"}, {"at_once": "0"}, {"at_once": "257"}):
        assert client_for(erin).post(page, values | odd).status_code == 400
    assert client_for(bob).post(page, values).status_code == 404


@pytest.fixture
def able(settings, project):
    """An endpoint that can do some things: log-probs yes, JSON schemas no, the same seed gives other words."""
    seen = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send({"data": [{"id": "big"}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            if body["model"] == "late":
                time.sleep(0.6)
            if "response_format" in body and body["model"] == "half":
                self._send({"choices": [{"message": {"content": "{ "}, "finish_reason": "length"}]})
                return
            if "response_format" in body:
                self._send({"error": {"message": "response_format is not known"}}, 400)
                return
            choice = {"message": {"content": f"Q{len(seen)}"}}
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [{"top_logprobs": [{"token": "Q", "logprob": -0.1}]}]}
            self._send({"choices": [choice], "usage": {"prompt_tokens": 20, "completion_tokens": 1}})

        def _send(self, said, status=200):
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    host = f"127.0.0.1:{http.server_port}"
    settings.ENDPOINT_ALLOW = [host]
    yield endpoint_create(project=project, name="able", base_url=f"http://{host}/v1", model="big", api_key=CANARY)
    http.shutdown()
    http.server_close()


@pytest.mark.slow
def test_a_judge_by_json_says_whether_its_endpoint_holds_to_the_schema(able, project, erin, client_for):
    judge = Judge.objects.create(
        project=project, name="by json", kind="llm", endpoint=able, criterion="kinder", mode="json"
    )
    page, client = f"{BASE}{judge.pk}/", client_for(erin)
    assert "was not tested" in client.get(page).content.decode()
    client.post(f"{BASE}endpoints/{able.pk}/", {"action": "probe"})
    assert "does not enforce a schema" in client.get(page).content.decode()
    judge.refresh_from_db()
    with opened(judge) as there:
        verdict = pair_judge(spec_of(judge), there).ask(Question("p", ("a", "b"), AS_STORED))
    # not asked for what it was seen to refuse; its reply is no JSON, and no verdict
    assert (verdict.state, verdict.flags, verdict.raw[0]) == ("unparseable", ("no-schema",), "Q")


def test_what_an_endpoint_can_do_is_found_out_and_shown(able, erin, client_for):
    page = f"{BASE}endpoints/{able.pk}/"
    client = client_for(erin)
    assert "Not tested yet" in client.get(page).content.decode()
    client.post(page, {"action": "probe"})
    able.refresh_from_db()
    found = {name: ok for name, ok, _ in able.capabilities["probed"]["found"]}
    assert found == {"models": True, "logprobs": True, "json_schema": False, "seeds": False}
    text = client.get(page).content.decode()
    assert "response_format is not known" in text
    assert CANARY not in text
    spend = Spend.objects.get()
    assert (spend.purpose, spend.n_calls) == ("probe", 4)
    assert able.committed_tokens == spend.prompt_tokens + spend.completion_tokens > 0


@pytest.mark.slow
@pytest.mark.parametrize(("model", "says"), [("late", "did not answer in time"), ("half", "cut off before its end")])
def test_an_endpoint_that_answers_late_or_half_is_not_taken_to_be_unable(
    model, says, able, erin, client_for, monkeypatch
):
    monkeypatch.setattr("apps.policies.endpoints.PROBE_LIMITS", replace(PROBE_LIMITS, read_seconds=0.4))
    endpoint_update(endpoint=able, base_url=able.base_url, model=model, api_key=CANARY)
    client, page = client_for(erin), f"{BASE}endpoints/{able.pk}/"
    client.post(page, {"action": "probe"})
    able.refresh_from_db()
    assert endpoint_keeps_schema(able) is None
    assert says in client.get(page).content.decode()


def test_an_endpoint_that_is_not_there_keeps_what_was_known_and_costs_nothing(endpoint, erin, client_for):
    page = f"{BASE}endpoints/{endpoint.pk}/"
    answer = client_for(erin).post(page, {"action": "probe"}, follow=True)
    assert "cannot be reached" in answer.content.decode()
    endpoint.refresh_from_db()
    assert (endpoint.capabilities, endpoint.committed_tokens) == ({}, 0)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:9/v1",
        "http://127.0.0.1:9/v2",
        "http://127.0.0.1:9",
        "http://127.0.0.1:10/v1",
        "http://localhost:9/v1",
        "http://93.184.216.34/v1",
    ],
)
def test_any_other_url_wipes_the_key_be_it_the_scheme_the_port_or_the_path_alone(
    url, endpoint, erin, client_for, settings
):
    settings.ENDPOINT_ALLOW = ["127.0.0.1:9", "127.0.0.1:10", "localhost:9"]
    client_for(erin).post(f"{BASE}endpoints/{endpoint.pk}/", {"base_url": url, "api_key": ""})
    endpoint.refresh_from_db()
    assert (endpoint.base_url, endpoint.encrypted_key) == (url, "")


def test_a_key_that_is_moved_to_a_row_with_another_url_can_t_be_read_there(endpoint):
    Endpoint.objects.update(base_url="https://attacker.example/v1")
    endpoint.refresh_from_db()
    with pytest.raises(EndpointKeyUnreadable, match="enter it again"):
        endpoint_key(endpoint)
