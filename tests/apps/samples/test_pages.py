"""Reading answers, sampling more, and making comparisons of them."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.jobs.models import Job
from apps.policies.models import Checkpoint
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.samples.pairs import comparisons_from_run
from apps.samples.services import BadComparison, sampling_run_create

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/samples/"


@pytest.fixture
def policy(project):
    return Checkpoint.objects.create(
        project=project, name="sft", role="policy", path="x", fingerprint="f", is_default=True
    )


@pytest.fixture
def make_run(project, policy, make_prompt):
    def make(n_prompts=2, n=3, texts=None, split="train"):
        prompts = [make_prompt(project, split=split) for _ in range(n_prompts)]
        run = sampling_run_create(project=project, checkpoint=policy, prompt_ids=[p.pk for p in prompts], n=n)
        for prompt in prompts:
            for index in range(n):
                text = texts[index] if texts else f"answer {index} to {prompt.pk}"
                Completion.objects.create(
                    project=project, prompt=prompt, run=run, index=index, text=text, model_name="sft", token_ids=[1, 2]
                )
        return run

    return make


def form(policy, prompt_set, **changes):
    values = {"checkpoint": policy.pk, "prompt_set": prompt_set.pk, "split": "", "n": 2, "temperature": 0.7}
    return values | {"top_p": 0.9, "top_k": 0, "max_tokens": 32, "seed": 5} | changes


@pytest.mark.slow
def test_leads_read_engineers_change_and_nobody_else_learns_anything(
    make_run, alice, bob, erin, ann, charlie, client_for
):
    run = make_run()
    pages = (BASE, f"{BASE}runs/", f"{BASE}runs/{run.pk}/")
    for person in (alice, erin, bob):
        for path in pages:
            assert client_for(person).get(path).status_code == 200, path
    for person in (ann, charlie):
        for path in (*pages, f"{BASE}new/"):
            assert client_for(person).get(path).status_code == 404, path
    compare = f"{BASE}runs/{run.pk}/compare/"
    for person in (ann, charlie, bob):
        assert client_for(person).post(compare, {"pairing": "two"}).status_code == 404
        assert client_for(person).post(f"{BASE}new/", {}).status_code == 404
    assert client_for(bob).get(f"{BASE}new/").status_code == 404
    assert not Comparison.objects.exists()
    assert client_for(erin).post(compare, {"pairing": "two"}).status_code == 302


@pytest.mark.slow
def test_a_run_of_another_project_is_not_reached_through_one_s_own(make_run, charlie, client_for):
    run = make_run()
    assert client_for(charlie).get(f"/p/elsewhere/samples/runs/{run.pk}/").status_code == 404
    assert client_for(charlie).post(f"/p/elsewhere/samples/runs/{run.pk}/compare/", {}).status_code == 404


def test_the_form_makes_a_run_of_the_chosen_split_and_its_jobs(project, policy, make_prompt, erin, client_for):
    prompts = [make_prompt(project, split=split) for split in ("train", "eval", "eval")]
    answer = client_for(erin).post(f"{BASE}new/", form(policy, prompts[0].prompt_set, split="eval"))
    run = SamplingRun.objects.get()
    assert answer["Location"] == f"{BASE}runs/{run.pk}/"
    assert run.prompt_ids == [prompts[1].pk, prompts[2].pk]
    assert (run.n, run.temperature, run.top_p, run.max_tokens, run.seed) == (2, 0.7, 0.9, 32, 5)
    job = Job.objects.get()
    assert (job.kind, job.started_by) == ("sampling.chunk", erin)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"n": 0}, "greater than or equal to 1"),
        ({"temperature": -1}, "greater than or equal to 0"),
        ({"top_p": 2}, "less than or equal to 1"),
        ({"temperature": "nan"}, "Enter a number"),
        ({"checkpoint": 999999}, "Select a valid choice"),
        ({"split": "eval"}, "there are no prompts to answer"),
    ],
)
def test_the_form_refuses_with_a_reason_and_starts_nothing(
    changes, why, project, policy, make_prompt, erin, client_for
):
    prompt = make_prompt(project)
    page = client_for(erin).post(f"{BASE}new/", form(policy, prompt.prompt_set, **changes))
    assert page.status_code == 400
    assert why in page.content.decode()
    assert not SamplingRun.objects.exists()


@pytest.mark.slow
def test_another_project_s_checkpoint_and_prompts_are_no_choice(
    policy, make_prompt, project, other_project, erin, client_for
):
    theirs = Checkpoint.objects.create(project=other_project, name="theirs", role="policy", path="y", fingerprint="g")
    foreign = make_prompt(other_project)
    page = client_for(erin).get(f"{BASE}new/").content.decode()
    assert "theirs" not in page
    mine = make_prompt(project).prompt_set
    assert client_for(erin).post(f"{BASE}new/", form(theirs, mine)).status_code == 400
    assert client_for(erin).post(f"{BASE}new/", form(policy, foreign.prompt_set)).status_code == 400


@pytest.mark.slow
def test_empty_states_show_the_command(project, erin, client_for):
    for path in (BASE, f"{BASE}runs/"):
        assert "manage.py sample --project letters-test" in client_for(erin).get(path).content.decode()
    assert "No policy yet" in client_for(erin).get(f"{BASE}new/").content.decode()


@pytest.mark.slow
def test_a_running_run_is_live_and_a_done_one_is_not(make_run, bob, client_for):
    run = make_run(n_prompts=2, n=3)
    client, path = client_for(bob), f"{BASE}runs/{run.pk}/"
    page = client.get(path)
    assert "<live-region" in page.content.decode()
    same = client.get(f"{path}?since={page['X-Since']}")
    assert same.status_code == 204
    assert "X-Poll" not in same
    Job.objects.filter(group=run.group).update(state="failed", failure_class="out_of_memory", error="too <b>big</b>")
    part = client.get(f"{path}?since={page['X-Since']}")
    assert part.status_code == 200
    assert part["X-Poll"] == "stop"
    text = part.content.decode()
    assert "<html" not in text
    assert "too &lt;b&gt;big" in text
    assert "<live-region" not in client.get(path).content.decode()


@pytest.mark.slow
def test_the_two_random_and_all_make_what_they_say(make_run):
    run = make_run(n_prompts=3, n=4)
    assert comparisons_from_run(run=run, pairing="two").n_new == 3
    made = comparisons_from_run(run=run, pairing="all", per_prompt=100)
    assert (made.n_new, made.n_there) == (3 * 6 - 3, 3)  # 4 choose 2 a prompt, three of them there already
    again = comparisons_from_run(run=run, pairing="random", per_prompt=2, seed=1)
    assert (again.n_new, again.n_there) == (0, 6)


@pytest.mark.slow
def test_random_pairs_depend_on_the_seed_alone(make_run):
    run = make_run(n_prompts=2, n=8)

    def drawn(seed):
        Comparison.objects.all().delete()
        comparisons_from_run(run=run, pairing="random", per_prompt=3, seed=seed)
        return set(Comparison.objects.values_list("first_id", "second_id"))

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(drawn(1)) == 6


def test_equal_texts_are_left_out_and_evaluation_is_held_out(make_run):
    run = make_run(n_prompts=1, n=3, texts=["same", "same", "other"], split="eval")
    made = comparisons_from_run(run=run, pairing="all", per_prompt=10)
    assert (made.n_new, made.n_same) == (2, 1)
    assert all(Comparison.objects.values_list("held_out", flat=True))


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused_on_the_page(make_run, erin, client_for):
    run = make_run(n=1)
    with pytest.raises(BadComparison, match="needs two answers"):
        comparisons_from_run(run=run, pairing="two")
    page = client_for(erin).post(f"{BASE}runs/{run.pk}/compare/", {"pairing": "two"})
    assert page.status_code == 400
    assert "needs two answers" in page.content.decode()
    assert client_for(erin).post(f"{BASE}runs/{run.pk}/compare/", {"pairing": "tournament"}).status_code == 400


@pytest.mark.slow
def test_the_browser_filters_by_the_address(make_run, project, make_prompt, make_completion, bob, client_for):
    run = make_run(n_prompts=1, n=1, texts=["from the run"])
    make_completion(make_prompt(project), "imported words", model_name="gpt", finished=False)
    client = client_for(bob)
    for query, shown, hidden in (
        (f"run={run.pk}", "from the run", "imported words"),
        ("model=gpt", "imported words", "from the run"),
        ("end=cut", "imported words", "from the run"),
        ("q=imported", "imported words", "from the run"),
    ):
        page = client.get(f"{BASE}?{query}").content.decode()
        assert shown in page, query
        assert hidden not in page, query
    assert client.get(f"{BASE}?run=notanumber&page=zzz&split=%00").status_code == 200


@pytest.mark.slow
def test_scores_are_machine_marks_and_answers_are_sanitised(make_run, make_judge, project, bob, client_for):
    run = make_run(n_prompts=1, n=1, texts=["<img src=x onerror=alert(1)> **kind**"])
    completion = Completion.objects.get(run=run)
    judge = make_judge(project, "rm-1")
    judge.scores.create(completion=completion, value=1.0)
    judge.scores.create(completion=completion, value=2.0, sample=1)
    for path in (BASE, f"/p/letters-test/prompts/{completion.prompt_id}/"):
        page = client_for(bob).get(path).content.decode()
        assert "<img" not in page
        assert "<strong>kind</strong>" in page
        assert "chip-machine" in page
        assert "1.50" in page


def test_line_breaks_of_answers_are_kept(make_run, bob, client_for):
    run = make_run(n_prompts=1, n=1, texts=["Dear Maria,\nthank you.\nTom"])
    for path in (BASE, f"/p/letters-test/prompts/{Completion.objects.get(run=run).prompt_id}/"):
        page = client_for(bob).get(path).content.decode()
        assert "<p>Dear Maria,<br>\nthank you.<br>\nTom</p>" in page, path


@pytest.mark.slow
@pytest.mark.parametrize("path", [BASE, f"{BASE}runs/"])
def test_pages_cost_the_same_for_more_rows(path, make_run, make_judge, project, bob, client_for):
    judge = make_judge(project, "rm-1")
    make_judge(project, "rm-2")  # which of several judges is under review takes a query
    client = client_for(bob)

    def cost():
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    make_run(n_prompts=2, n=2)
    for completion in Completion.objects.all():
        judge.scores.create(completion=completion, value=1.0)
    client.get(path)
    few = cost()
    for _ in range(3):
        make_run(n_prompts=3, n=4)
    for completion in Completion.objects.exclude(scores__isnull=False):
        make_judge(project).scores.create(completion=completion, value=1.0)
    client.get(path)  # whoever sees a score for the first time is noted down
    assert cost() == few


@pytest.mark.slow
def test_settings_that_a_model_ships_are_offered_and_not_applied(
    policy, erin, make_prompt, client_for, settings, tmp_path
):
    settings.STORE_DIR = tmp_path
    make_prompt(policy.project)
    page = client_for(erin).get(f"{BASE}new/").content.decode()
    assert "settings of its own" not in page
    (tmp_path / policy.path).mkdir()
    (tmp_path / policy.path / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9}', "utf-8")
    response = client_for(erin).get(f"{BASE}new/")
    page = response.content.decode()
    assert "sft comes with settings of its own: temperature 0.6, top-p 0.9." in page
    assert response.context["form"]["temperature"].value() == 1.0
    query = f"checkpoint={policy.pk}&temperature=0.6&top_p=0.9"
    assert query.replace("&", "&amp;") in page
    filled = client_for(erin).get(f"{BASE}new/?{query}").context["form"]
    assert (filled["temperature"].value(), filled["top_p"].value(), filled["top_k"].value()) == ("0.6", "0.9", 0)
