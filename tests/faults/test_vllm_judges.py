"""Judges on a real vLLM server, asked by a real worker: by one token's log-probs, by scores, and where nothing is said.

The judge is a letters policy that was taught for a few seconds what the forms of a verdict are, over the requests that
the product itself makes. It is no good judge and need not be: what is asked here is whether what it says arrives.
Its size is `full`: the tiny one has heads of 16 dimensions, which vLLM has no CPU kernel for.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter, defaultdict

import httpx
import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from apps.exchange.services import import_file
from apps.jobs.models import Job, JobState
from apps.judging.services import judge_create, judging_run_create
from apps.labels.models import Preference, Score, Verdict
from apps.labels.selectors import judge_labels
from apps.policies.endpoints import endpoint_create, endpoint_probe
from apps.policies.models import Spend
from apps.projects.models import Project
from apps.samples.models import Comparison
from prefloop.judging.asking import CALLS_AT_ONCE
from prefloop.judging.parse import parse_score
from prefloop.judging.render import new_delimiter, render, render_score, template_from_text
from prefloop.judging.verdicts import BOTH_ORDERS, ORDER_CODES, as_shown
from prefloop.records.write import write_record
from prefloop.worlds.letters import corpus, eft
from prefloop.worlds.letters.world import LettersWorld

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.xdist_group("vllm"), pytest.mark.timeout(1200)]
WORLD = LettersWorld(0)
CRITERION = "Kind and correct."
# as short as a template may be: every fence costs this tokenizer fifty tokens a line
COMPARES = (
    "[system]\nWhich letter is better?\n[user]\n{{criterion}}\n{{prompt}}\n{{first_shown}}\n{{second_shown}}\nBetter:"
)
SCORES = "[system]\nScore this letter from 0 to 5.\n[user]\n{{criterion}}\n{{prompt}}\n{{answer}}\nScore:"
ROOM = 1024  # tokens: two letters and eight fences are up to 554
N_PAIRS = 24
N_LESSONS = 200  # of each kind; what thousands come to is in docs/experiments.md


def compares(prompt, shown):
    """The request of the judge by log-probs, as a run with seed 0 makes it."""
    template = template_from_text(COMPARES, name="compares", mode="logprob")
    code = new_delimiter(prompt, *shown, CRITERION, seed=0)
    return render(
        template, prompt=prompt, first_shown=shown[0], second_shown=shown[1], criterion=CRITERION, delimiter=code
    )


def scores(prompt, letter):
    """The request of the judge by scores."""
    template = template_from_text(SCORES, name="scores", mode="additive")
    code = new_delimiter(prompt, letter, CRITERION, seed=0)
    return render_score(template, prompt=prompt, answer=letter, criterion=CRITERION, delimiter=code)


def lessons(n):
    """n judgements with a score, and n comparisons with one letter, over training prompts alone."""
    from prefloop.recipes.snapshots import Demonstration

    rng, prompts = random.Random(0), WORLD.prompts("train")
    for number in range(n):
        prompt = prompts[number % len(prompts)]
        one, other = (corpus.write_letter(prompt, rng) for _ in range(2))
        judgement = eft.judgement(one, WORLD.parts(prompt.text, one))
        yield Demonstration(f"score {number}", tuple(scores(prompt.text, one)), judgement)
        said = "A" if WORLD.gold(prompt.text, one, other) == "first" else "B"
        yield Demonstration(f"pair {number}", tuple(compares(prompt.text, (one, other))), said)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The policy's directory: letters first, then judging them, each from nothing but its seed."""
    from prefloop.engine.train import main
    from prefloop.policy.loading import load_policy, save_model
    from prefloop.recipes.recipe import Objective
    from prefloop.recipes.runspec import EXIT_DONE, RunSpec, write_spec
    from prefloop.recipes.snapshots import write_snapshot
    from prefloop.worlds.letters.sft import train_sft

    if not django_settings.VLLM_PYTHON:
        pytest.skip("vllm: not installed (make vllm)")
    place = tmp_path_factory.mktemp("judge")
    train_sft(place / "letters", size="full", n_letters=1200, threads=1)
    policy = load_policy(place / "letters")
    policy.model.config.max_position_embeddings = policy.tokenizer.model_max_length = ROOM
    save_model(policy.model, policy.tokenizer, place / "wide")
    run = place / "run"
    run.mkdir()
    info = write_snapshot(run / "snapshot.jsonl", lessons(N_LESSONS))
    objective = Objective(loss="nll", batch=8, lr=2e-3)
    write_spec(
        run,
        RunSpec(
            run_id="judge", kind="sft", start=str(place / "wide"), objective=objective, snapshot_sha256=info.sha256
        ),
    )
    assert main([str(run)]) == EXIT_DONE
    return run / "final"


@pytest.fixture(scope="module")
def server(taught, tmp_path_factory):
    from prefloop.policy.vllm_server import start_vllm

    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with start_vllm(taught, python=django_settings.VLLM_PYTHON, log_path=log, dtype="float32", on_cpu=True) as server:
        yield server


@pytest.fixture
def bench(site, server, settings):
    """A project with held-out pairs and their truth, and the server as an endpoint that its owner allowed."""
    settings.ENDPOINT_ALLOW = [server.host_port]
    project = Project.objects.create(slug="letters", name="Letters", world="letters", criterion=CRITERION)
    path = site.directory / "pairs.jsonl"
    records = list(WORLD.records(split="eval", n_pairs=1))[:N_PAIRS]
    path.write_bytes(b"".join(map(write_record, records)))
    import_file(project=project, path=path, name=path.name, created_by=None, now=timezone.now())
    endpoint = endpoint_create(
        project=project, name="vllm", base_url=server.base_url, model=server.model, api_key=server.key
    )
    return Bench(site, server, project, endpoint)


class Bench:
    def __init__(self, site, server, project, endpoint):
        self.site, self.server, self.project, self.endpoint = site, server, project, endpoint
        self.pairs = list(Comparison.objects.filter(project=project).select_related("prompt", "first", "second"))
        assert len(self.pairs) == N_PAIRS
        assert all(pair.held_out and pair.gold for pair in self.pairs)

    def judge(self, name, **how):
        return judge_create(
            project=self.project, name=name, kind="llm", endpoint=self.endpoint, criterion=CRITERION, **how
        )

    def worker(self):
        """A worker that may call the server, and that reads the endpoint's key as we wrote it."""
        return self.site.worker(PREFLOOP_ENDPOINT_ALLOW=self.server.host_port, SECRET_KEY=django_settings.SECRET_KEY)

    def run(self, judge, **more):
        ids = [pair.pk for pair in self.pairs]
        return judging_run_create(project=self.project, judge=judge, comparison_ids=ids, **more)

    def await_end(self, run):
        def state():
            return Job.objects.get(group=run.group).state

        self.site.wait_for(lambda: state() in (JobState.SUCCEEDED, JobState.FAILED), "the run's end", seconds=300)
        assert state() == JobState.SUCCEEDED

    def n_answered(self):
        """How many requests the server itself counts as answered to their end."""
        told = httpx.get(f"http://{self.server.host_port}/metrics", trust_env=False).text
        found = re.findall(
            r'^vllm:request_success_total\{.*finished_reason="(\w+)".*\} ([\d.e+]+)$', told, re.MULTILINE
        )
        assert found
        return sum(int(float(count)) for reason, count in found if reason != "abort")


def test_the_endpoint_is_seen_to_tell_log_probs(bench):
    found = {one.name: one for one in endpoint_probe(endpoint=bench.endpoint, now=timezone.now())}
    assert found["models"].ok
    assert found["logprobs"].ok
    assert found["json_schema"].ok is not False  # it may spend its tokens on blanks, which the schema allows
    assert found["seeds"].ok


def test_one_token_s_log_probs_are_the_checkpoint_s_own_in_both_orders(bench, taught):
    """Within 1e-4 of probability: two programs sum in fp32 in other orders (7e-6 was seen)."""
    judge = bench.judge("by-log-probs", mode="logprob", order_policy="average", template=COMPARES)
    before = bench.n_answered()
    run = bench.run(judge)
    bench.worker()
    bench.await_end(run)
    verdicts = list(Verdict.objects.filter(judge=judge))
    assert Counter(row.state for row in verdicts) == {"ok": 2 * N_PAIRS}
    assert {(row.comparison_id, row.order, row.sample) for row in verdicts} == {
        (pair.pk, order, 0) for pair in bench.pairs for order in ("01", "10")
    }
    assert bench.n_answered() - before == 2 * N_PAIRS == sum(Spend.objects.values_list("n_calls", flat=True))

    ours = own_probabilities(taught, bench.pairs)
    told = {(row.comparison_id, row.order): row.p_first for row in verdicts}
    assert told == pytest.approx(ours, abs=1e-4)
    assert len({round(p, 3) for p in told.values()}) > N_PAIRS  # pairs differ, and so do the orders

    labels = judge_labels(comparison_ids=[pair.pk for pair in bench.pairs], judge=judge)
    for pair in bench.pairs:
        mean = (ours[pair.pk, "01"] + ours[pair.pk, "10"]) / 2
        assert labels[pair.pk].p_first == pytest.approx(mean, abs=1e-4)

    again = bench.run(judge)
    bench.await_end(again)
    assert bench.n_answered() - before == 2 * N_PAIRS
    assert Verdict.objects.filter(judge=judge).count() == 2 * N_PAIRS


def own_probabilities(directory, pairs):
    """P(first is better) in each order, from the whole distribution that our own engine gives the next token."""
    import torch

    from prefloop.policy.loading import load_policy
    from prefloop.policy.prompts import encode_prompt

    policy = load_policy(directory)
    words = [policy.tokenizer.decode([token]).strip() for token in range(len(policy.tokenizer))]
    says = {label: [token for token, word in enumerate(words) if word == label] for label in ("A", "B")}
    found = {}
    for pair in pairs:
        for order in BOTH_ORDERS:
            shown = as_shown(order, pair.first.text, pair.second.text)
            ids = torch.tensor([encode_prompt(policy.tokenizer, compares(pair.prompt.text, shown))])
            with torch.no_grad():
                p = policy.model(ids).logits[0, -1].softmax(-1)
            a, b = (float(p[says[label]].sum()) for label in ("A", "B"))
            found[pair.pk, ORDER_CODES[order]] = a / (a + b) if order == (0, 1) else b / (a + b)
    return found


def test_scores_are_read_and_a_killed_worker_s_are_not_asked_for_again(bench):
    judge = bench.judge("by-scores", mode="additive", template=SCORES, options={"max_tokens": 96})
    before = bench.n_answered()
    run = bench.run(judge)
    first = bench.worker()
    rows = Score.objects.filter(judge=judge)
    bench.site.wait_for(rows.exists, "the first scores", seconds=120)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = dict(rows.values_list("pk", "raw"))
    n_all = 2 * N_PAIRS * 3
    assert len(kept) < n_all
    bench.worker()
    bench.await_end(run)
    assert Job.objects.get(group=run.group).attempt == 2
    assert rows.count() == n_all
    assert dict(rows.filter(pk__in=kept).values_list("pk", "raw")) == kept
    assert n_all <= bench.n_answered() - before <= n_all + CALLS_AT_ONCE

    values = defaultdict(list)
    for row in rows:
        read = parse_score(row.raw).value
        assert row.value == read if row.state == "ok" else row.value is None
        values[row.completion_id] += [] if row.value is None else [row.value]
    assert rows.filter(state="ok").count() > 0.9 * n_all  # 142 of 144 were
    for pair in bench.pairs:
        verdict = Verdict.objects.get(judge=judge, comparison=pair)
        means = [sum(found) / len(found) for found in (values[pair.first_id], values[pair.second_id])]
        gap = means[0] - means[1]
        assert verdict.outcome == ("tie" if abs(gap) < 1e-9 else "first" if gap > 0 else "second")


def test_what_it_was_never_taught_to_say_becomes_no_verdict(bench):
    """Asked for [[A]] or [[B]] it writes what it knows, which can not be read and is no verdict, tie or label."""
    judge = bench.judge("by-text", mode="text", template=COMPARES, options={"max_tokens": 64})
    run = bench.run(judge)
    bench.worker()
    bench.await_end(run)
    rows = Verdict.objects.filter(judge=judge)
    assert Counter(rows.values_list("state", "outcome")) == {("unparseable", ""): 2 * N_PAIRS}
    assert not rows.filter(p_first__isnull=False).exists()
    assert all(row.raw and row.rationale for row in rows)
    labels = judge_labels(comparison_ids=[pair.pk for pair in bench.pairs], judge=judge)
    assert {label.outcome for label in labels.values()} == {None}
    assert not Preference.objects.filter(comparison__project=bench.project, source="judge").exists()
