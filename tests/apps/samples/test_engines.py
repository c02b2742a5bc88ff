"""Who answers: a checkpoint by transformers or vLLM, or an endpoint, whose answers are kept with what it told of them.

The endpoint is a real HTTP server on loopback; the real vLLM is in tests/prefloop/policy.
"""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.labels.models import Preference
from apps.policies.endpoints import endpoint_create
from apps.policies.models import Checkpoint, Endpoint, Spend
from apps.policies.spending import spent_on
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.samples.pairs import comparisons_from_run
from apps.samples.services import BadSampling, sampling_run_create, sampling_run_enqueue

pytestmark = pytest.mark.django_db
NEW = "/p/letters-test/samples/new/"


class Server:
    """Chat and text completions; answers by number, and fails from `fail_after` answers on."""

    def __init__(self):
        self.bodies, self.keys, self.fail_after, self.usage = [], [], None, None
        lock = threading.Lock()
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.bodies.append((self.path, body))
                    outer.keys.append(self.headers.get("Authorization"))
                    n = len(outer.bodies)
                failing = outer.fail_after is not None and n > outer.fail_after
                text = f"Dear Maria, number {body['seed']}."
                if self.path.endswith("/chat/completions"):
                    logprobs = {"content": [{"token": "Dear", "logprob": -0.5}, {"token": "…", "logprob": -1.0}]}
                    choice = {"message": {"role": "assistant", "content": text}, "logprobs": logprobs}
                else:
                    choice = {"text": text, "logprobs": {"token_logprobs": [-0.25]}}
                said = {"choices": [{"index": 0, "finish_reason": "stop", **choice}]}
                said = json.dumps(said | ({"usage": outer.usage} if outer.usage else {})).encode()
                self.send_response(401 if failing else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.host_port = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(settings):
    server = Server()
    settings.ENDPOINT_ALLOW = [server.host_port]
    yield server
    server.close()


@pytest.fixture
def endpoint(project, server):
    return endpoint_create(
        project=project, name="served", base_url=f"http://{server.host_port}/v1", model="m", api_key="sk-1"
    )


@pytest.fixture
def policy(project):
    return Checkpoint.objects.create(project=project, name="sft", role="policy", path="x", fingerprint="f")


def run_jobs():
    return drain(["cpu"], worker_name="test")


def test_an_endpoint_s_answers_are_stored_once_with_what_it_told_and_no_more(project, endpoint, server, make_prompt):
    prompts = [make_prompt(project), make_prompt(project, messages=[{"role": "user", "content": "Hi?"}])]
    run = sampling_run_create(
        project=project, endpoint=endpoint, prompt_ids=[p.pk for p in prompts], n=3, temperature=0.7, top_p=0.9, seed=1
    )
    job = Job.objects.get()
    assert (run.engine, run.api, job.kind, job.queue) == ("endpoint", "chat", "sampling.endpoint", "cpu")
    assert run_jobs() == 1
    rows = Completion.objects.filter(run=run).order_by("prompt_id", "index")
    assert [(row.prompt_id, row.index) for row in rows] == [(p.pk, k) for p in prompts for k in range(3)]
    assert len({row.text for row in rows}) == 6  # a seed each
    assert {(row.model_name, tuple(row.token_ids), row.logp_sum, row.finished) for row in rows} == {
        ("served", (), None, True)
    }
    assert rows[0].metadata == {"endpoint_logprob_sum": -1.5, "endpoint_n_tokens": 2}
    assert set(server.keys) == {"Bearer sk-1"}
    asked = {body["messages"][0]["content"] for _, body in server.bodies}
    assert asked == {prompts[0].text, "Hi?"}


@pytest.mark.slow
def test_another_attempt_asks_for_what_is_missing_alone(project, endpoint, server, make_prompt):
    prompts = [make_prompt(project) for _ in range(4)]
    run = sampling_run_create(
        project=project, endpoint=endpoint, prompt_ids=[p.pk for p in prompts], n=5, api="completions"
    )
    server.fail_after = 7
    run_jobs()
    job = Job.objects.get()
    assert (job.state, job.failure_class) == ("failed", "judge_refused")
    assert "is the API key right" in job.error
    kept = set(Completion.objects.filter(run=run).values_list("pk", flat=True))
    assert len(kept) == 7  # each answer that was paid for
    paid = {body["seed"] for _, body in server.bodies[:7]}
    server.fail_after, server.bodies = None, []
    sampling_run_enqueue(run=run)
    run_jobs()
    assert Completion.objects.filter(run=run).count() == 20
    assert kept <= set(Completion.objects.filter(run=run).values_list("pk", flat=True))
    assert len(server.bodies) == 13
    assert not paid & {body["seed"] for _, body in server.bodies}
    assert {path for path, _ in server.bodies} == {"/v1/completions"}


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
def test_answers_of_an_endpoint_stay_under_its_cap_and_in_its_ledger(project, endpoint, server, make_prompt, told):
    server.usage = {"prompt_tokens": 20, "completion_tokens": 10} if told else None
    prompts = [make_prompt(project, text="Hi?") for _ in range(2)]
    # "user" and "Hi?" are 7 bytes, a chat's form 64: a request is held at 71 + 30 tokens
    Endpoint.objects.update(input_price=2, output_price=Decimal(10), cap_tokens=250)
    run = sampling_run_create(
        project=project, endpoint=endpoint, prompt_ids=[p.pk for p in prompts], n=10, max_tokens=30
    )
    run_jobs()
    job = Job.objects.get()
    assert (job.state, job.failure_class) == ("failed", "cap_reached")
    assert "of 250 tokens are left" in job.error
    n_drawn, each = (5, 30) if told else (2, 101)  # the sixth could have taken 101 of the 100 that were left
    assert Completion.objects.filter(run=run).count() == len(server.bodies) == n_drawn
    spent = spent_on(Endpoint.objects.get())
    assert (spent.n_calls, spent.tokens, spent.held_tokens) == (n_drawn, n_drawn * each, 0)
    assert spent.cost == n_drawn * (Decimal("0.00014") if told else Decimal("0.000442"))  # by hand, of 20 + 10, 71 + 30
    rows = Spend.objects.all()
    assert {(row.purpose, row.note) for row in rows} == {("sampling", f"sampling run {run.pk}")}
    assert sum(row.n_estimated for row in rows) == (0 if told else n_drawn)

    Endpoint.objects.update(cap_tokens=None)
    sampling_run_enqueue(run=run)
    run_jobs()
    assert Completion.objects.filter(run=run).count() == len(server.bodies) == 20  # none is paid for twice
    assert spent_on(Endpoint.objects.get()).tokens == 20 * each


def test_such_answers_can_be_compared_and_labelled(
    project, endpoint, make_prompt, make_vote, django_capture_on_commit_callbacks
):
    from django.utils import timezone

    from apps.labels.services import preferences_derive

    run = sampling_run_create(project=project, endpoint=endpoint, prompt_ids=[make_prompt(project).pk], n=2)
    run_jobs()
    assert comparisons_from_run(run=run, pairing="two").n_new == 1
    comparison = Comparison.objects.get()
    make_vote(comparison, "second")
    preferences_derive(project=project, comparison_ids=[comparison.pk], now=timezone.now())
    assert Preference.objects.get(comparison=comparison).outcome == "second"


@pytest.mark.parametrize(
    ("settings_", "why"),
    [
        ({}, "either a checkpoint or an endpoint answers"),
        ({"checkpoint": True, "endpoint": True}, "either a checkpoint or an endpoint answers"),
        ({"checkpoint": True, "engine": "endpoint"}, "needs an endpoint"),
        ({"endpoint": True, "engine": "vllm"}, "needs a checkpoint"),
        (
            {"checkpoint": True, "engine": "onnx"},
            "there is no engine 'onnx'; there are: auto, transformers, vllm, endpoint",
        ),
        ({"endpoint": True, "api": "telepathy"}, "asked by chat or completions"),
        ({"endpoint": True, "top_k": 5}, "has no top-k"),
    ],
)
def test_what_nobody_could_answer_is_refused_and_nothing_is_made(
    settings_, why, project, policy, endpoint, make_prompt
):
    chosen = {name: {"checkpoint": policy, "endpoint": endpoint}.get(name, value) for name, value in settings_.items()}
    with pytest.raises(BadSampling, match=why):
        sampling_run_create(project=project, prompt_ids=[make_prompt(project).pk], n=1, **chosen)
    assert not SamplingRun.objects.exists()
    assert not Job.objects.exists()


def test_a_simulated_judge_and_another_project_s_endpoint_answer_nothing(project, other_project, make_prompt):
    foreign = Endpoint.objects.create(project=other_project, name="x", base_url="https://x.example/v1", model="m")
    judge = Endpoint.objects.create(project=project, name="j", base_url="simulated://", model="m", is_simulated=True)
    for endpoint in (foreign, judge):
        with pytest.raises(BadSampling, match="is not an endpoint of project letters-test"):
            sampling_run_create(project=project, endpoint=endpoint, prompt_ids=[make_prompt(project).pk], n=1)


def test_the_database_refuses_an_engine_that_does_not_fit_its_source(project, policy):
    with pytest.raises(IntegrityError), transaction.atomic():
        SamplingRun.objects.create(project=project, checkpoint=policy, engine="endpoint", n=1)


def form(prompt, **changes):
    values = {"prompt_set": prompt.prompt_set.pk, "split": "", "n": 2, "temperature": 1, "top_p": 1, "top_k": 0}
    return values | {"max_tokens": 32, "seed": 5} | changes


@pytest.mark.slow
def test_the_form_offers_three_engines_and_asks_for_what_each_needs(
    project, policy, endpoint, make_prompt, erin, client_for
):
    prompt, client = make_prompt(project), client_for(erin)
    page = client.get(NEW).content.decode()
    for words in ("A checkpoint, in the worker", "in a vLLM server that the worker starts", "served (m)"):
        assert words in page
    client.post(NEW, form(prompt, engine="vllm", checkpoint=policy.pk, endpoint=endpoint.pk, api="chat"))
    run = SamplingRun.objects.latest("pk")
    assert (run.engine, run.checkpoint, run.endpoint, run.api) == ("vllm", policy, None, "")
    assert Job.objects.latest("pk").queue == "gpu"
    answer = client.post(
        NEW,
        form(prompt, engine="endpoint", endpoint=endpoint.pk, checkpoint=policy.pk, top_k="junk", api="completions"),
    )
    run = SamplingRun.objects.latest("pk")
    assert (run.engine, run.checkpoint, run.endpoint, run.api) == ("endpoint", None, endpoint, "completions")
    shown = client.get(answer["Location"]).content.decode()
    assert "--endpoint served --api completions" in shown
    assert "--top-k" not in shown
    assert "as text to continue" in shown
    for changes in ({"engine": "endpoint"}, {"engine": "vllm"}, {"engine": "endpoint", "endpoint": 999999}):
        assert client.post(NEW, form(prompt, **changes)).status_code == 400, changes
    assert SamplingRun.objects.count() == 2


@pytest.mark.slow
def test_the_run_s_page_and_the_list_name_the_engine(project, policy, make_prompt, erin, client_for):
    run = sampling_run_create(
        project=project, checkpoint=policy, engine="vllm", prompt_ids=[make_prompt(project).pk], n=1
    )
    page = client_for(erin).get(f"/p/letters-test/samples/runs/{run.pk}/").content.decode()
    assert "<dd>vLLM</dd>" in page
    assert '<span class="chip">vLLM</span>' in client_for(erin).get("/p/letters-test/samples/runs/").content.decode()


def test_the_command_samples_an_endpoint_and_says_so(project, endpoint, make_prompt):
    make_prompt(project)
    out = StringIO()
    arguments = ["--prompts", "main", "-n", "2", "--json"]
    call_command("sample", "--endpoint", "served", *arguments, stdout=out)
    said = json.loads(out.getvalue())
    assert (said["endpoint"], said["engine"], said["n_samples"]) == ("served", "endpoint", 2)
    with pytest.raises(CommandError, match="no endpoint 'nowhere' in any project"):
        call_command("sample", "--endpoint", "nowhere", *arguments)
    with pytest.raises(CommandError, match="one of the arguments --checkpoint --endpoint is required"):
        call_command("sample", *arguments)
