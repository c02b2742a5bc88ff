"""A policy of the project as judge, by this worker's own engine: log-probs in both orders, grades, and its form."""

from __future__ import annotations

import json

import pytest

from apps.jobs.drain import drain
from apps.judging.services import judge_create, judging_run_create
from apps.labels.models import Judge, Score, Verdict
from apps.labels.selectors import scores_of
from apps.policies.models import Endpoint
from apps.policies.services import checkpoint_import
from prefloop.judging.parse import parse_logprobs
from prefloop.judging.replies import TokenLogprob
from prefloop.model_sources import Directory

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.django_db


@pytest.fixture
def policy(project, settings, tmp_path):
    """A tiny random policy to which the two letters of a verdict are likely, so that its verdicts can be read."""
    from prefloop.policy.loading import save_model
    from prefloop.policy.tiny import tiny_policy

    settings.STORE_DIR = tmp_path / "store"
    made = tiny_policy(chat=True, max_position_embeddings=4096)
    with torch.no_grad():
        letters = [made.tokenizer.convert_tokens_to_ids(letter) for letter in "AB"]
        made.model.lm_head.weight *= 0.05
        made.model.model.embed_tokens.weight[:, 0] = 8.0  # whatever is read, the first dimension is large
        made.model.lm_head.weight[letters, 0] = 20.0
    save_model(made.model, made.tokenizer, tmp_path / "policy")
    return checkpoint_import(project=project, name="tiny", role="policy", source=Directory(tmp_path / "policy"))


def policy_judge(project, policy, **more):
    return judge_create(project=project, name="own", kind="policy", checkpoint=policy, criterion="Kinder.", **more)


def ask(project, judge, pairs):
    run = judging_run_create(project=project, judge=judge, comparison_ids=[pair.pk for pair in pairs])
    drain(["gpu", "cpu"], worker_name="w")
    return run


@pytest.mark.slow
def test_it_compares_by_log_probs_in_both_orders_without_an_endpoint(project, policy, make_comparison):
    pairs = [make_comparison(project, (f"Dear Maria, {n}.", f"Hey {n}.")) for n in range(3)]
    judge = policy_judge(project, policy, mode="logprob", order_policy="average")
    ask(project, judge, pairs)
    verdicts = Verdict.objects.filter(judge=judge)
    assert not Endpoint.objects.exists()
    assert verdicts.count() == 6
    assert {verdict.order for verdict in verdicts} == {"01", "10"}
    read = [verdict for verdict in verdicts if verdict.state == "ok"]
    assert read
    for verdict in read:
        top = json.loads(verdict.raw)["top_logprobs"]
        shown = parse_logprobs([TokenLogprob(*entry) for entry in top.items()]).p_first_shown
        assert verdict.p_first == pytest.approx(shown if verdict.order == "01" else 1 - shown, abs=1e-4)
        assert verdict.usage["completion_tokens"] == 1
    ask(project, judge, pairs)
    assert verdicts.count() == 6  # what it said is not asked again


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["additive", "rubric"])
def test_it_grades_as_often_as_it_says_and_what_can_not_be_read_has_no_value(project, policy, make_comparison, mode):
    pair = make_comparison(project)
    judge = policy_judge(project, policy, mode=mode, options={"samples": 2, "max_tokens": 6})
    ask(project, judge, [pair])
    scores = Score.objects.filter(judge=judge)
    assert scores.count() == 4
    assert set(scores.values_list("state", "rationale")) == {("unparseable", "cut off at the token limit")}
    assert scores_of(judge, [pair.first_id]) == {}
    assert Verdict.objects.get(judge=judge).state == "unparseable"


@pytest.mark.slow
def test_it_is_made_and_changed_on_its_page(project, policy, erin, client_for):
    client, new = client_for(erin), f"/p/{project.slug}/judges/new/?kind=policy"
    assert policy.name in client.get(new).content.decode()
    posted = {
        "checkpoint": policy.pk,
        "criterion": "Kinder.",
        "mode": "logprob",
        "order_policy": "average",
        "temperature": "0",
        "samples": "1",
        "max_tokens": "16",
    }
    assert client.post(new, posted | {"name": "own", "criterion": ""}).status_code == 400
    assert client.post(new, posted | {"name": "own"}).status_code == 302
    made = Judge.objects.get(project=project, name="own")
    assert (made.checkpoint, made.mode, made.order_policy, made.criterion) == (policy, "logprob", "average", "Kinder.")
    assert client.get(f"/p/{project.slug}/judges/{made.pk}/").status_code == 200
    assert client.post(f"/p/{project.slug}/judges/{made.pk}/edit/", posted | {"mode": "additive"}).status_code == 302
    assert Judge.objects.get(project=project, name="own", version=2).gives_scores
