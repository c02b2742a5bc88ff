"""Prompts, samples, judges and policies in a real browser: accessible, fitting, and working end to end."""

from __future__ import annotations

import pytest

from apps.jobs.models import Job
from apps.labels.models import Judge
from apps.policies.models import Checkpoint, Endpoint
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.samples.services import sampling_run_create
from apps.training.models import Loop, Round

LONG = "Donaudampfschifffahrtsgesellschaft" * 6


@pytest.fixture
def workbench(project, make_prompt, make_completion, make_comparison, make_verdict, make_vote):
    """A project with a little of everything, some of it long."""
    root = Checkpoint.objects.create(
        project=project, name="sft", role="policy", path="a", fingerprint="ab" * 32, is_default=True,
        n_parameters=1_130_000, architecture="Qwen2ForCausalLM", manifest={"format": 1, "extra": {"seed": 3}},
    )  # fmt: skip
    child = Checkpoint.objects.create(
        project=project, name="iterative-dpo-7-round-1", role="policy", path="b", fingerprint="cd" * 32, parent=root,
        recipe="iterative-dpo", n_parameters=1_130_000,
    )  # fmt: skip
    reward = Checkpoint.objects.create(
        project=project, name="rm", role="reward", path="c", fingerprint="ef" * 32, parent=root, recipe="reward-model"
    )
    loop = Loop.objects.create(
        project=project, recipe="iterative-dpo", config={}, n_rounds=1, state="done", initial=root
    )
    for index, made in enumerate((root, child)):
        result = {"gold_mean": 2.2 - 4 * index, "gold_ci95": [2.0 - 4 * index, 2.4 - 4 * index], "kl": 0.0076 * index}
        result |= {"win_rate_vs_initial": 0.5 + 0.5 * index, "win_rate_ci95": [0.5, 1.0], "mean_length": 120.0}
        Round.objects.create(loop=loop, index=index, stage="done", output=made, result=result)
    prompts = [make_prompt(project, text) for text in ("Write to Maria.", LONG)]
    make_prompt(project, "Write to Tom.", split="eval", prompt_set="held out")
    run = sampling_run_create(project=project, checkpoint=root, prompt_ids=[p.pk for p in prompts], n=2)
    for prompt in prompts:
        for index, text in enumerate(("Dear Maria, **thank you**.", LONG)):
            make_completion(prompt, text, run=run, index=index, model_name="sft", logp_sum=-3.5, token_ids=[1, 2])
    endpoint = Endpoint.objects.create(
        project=project, name="hosted", base_url="https://api.example.org/v1/" + "long" * 20, model="big"
    )
    llm = Judge.objects.create(project=project, name="hosted-judge", kind="llm", endpoint=endpoint, criterion="kinder")
    rm = Judge.objects.create(project=project, name="rm-judge", kind="reward_model", checkpoint=reward)
    for completion in Completion.objects.all():
        rm.scores.create(completion=completion, value=1.25)
    for number in range(3):
        comparison = make_comparison(project)
        make_verdict(comparison, judge=llm, order="01", rationale="A says “thank you”.", raw="…\n[[A]]", p_first=0.8)
        make_verdict(comparison, "second" if number else "first", judge=llm, order="10")
        make_vote(comparison)
    return {
        "run": run, "prompt": prompts[1], "child": child, "llm": llm, "endpoint": endpoint,
        "comparison": comparison, "job": run.group.jobs.get(),
    }  # fmt: skip


def addresses(project, workbench):
    base = f"/p/{project.slug}"
    return [
        f"{base}/prompts/",
        f"{base}/prompts/add/",
        f"{base}/prompts/{workbench['prompt'].pk}/",
        f"{base}/samples/",
        f"{base}/samples/runs/",
        f"{base}/samples/runs/{workbench['run'].pk}/",
        f"{base}/samples/new/",
        f"{base}/judges/",
        f"{base}/judges/new/",
        f"{base}/judges/new/?kind=llm",
        f"{base}/judges/new/?kind=reward_model",
        f"{base}/judges/new/?kind=ensemble",
        f"{base}/judges/{workbench['llm'].pk}/",
        f"{base}/judges/{workbench['llm'].pk}/edit/",
        f"{base}/judges/endpoints/{workbench['endpoint'].pk}/",
        f"{base}/policies/",
        f"{base}/policies/{workbench['child'].pk}/",
        f"{base}/policies/import/",
        f"{base}/policies/average/",
        f"{base}/policies/endpoints/new/",
        *[f"{base}/policies/{workbench['child'].pk}/{word}/" for word in ("card", "labels", "best-of-n")],
        *[f"{base}/comparisons/{workbench['comparison'].pk}/{word}" for word in ("", "used/")],
        f"{base}/jobs/",
        f"{base}/jobs/{workbench['job'].pk}/",
    ]


@pytest.mark.parametrize(
    ("width", "theme"), [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]
)
def test_every_page_is_accessible_and_fits(page_for, alice, project, workbench, axe, fits, shoot, width, theme):
    page = page_for(alice, width=width, theme=theme)
    for number, path in enumerate(addresses(project, workbench)):
        assert page.goto(path).status == 200
        axe(page)
        fits(page)
        shoot(page, f"workbench-{number:02d}-{width}-{theme}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_empty_pages_are_accessible_and_fit(page_for, alice, project, axe, fits, theme):
    page = page_for(alice, width="phone", theme=theme)
    for word in (
        "prompts",
        "samples",
        "samples/runs",
        "samples/new",
        "judges",
        "judges/new/?kind=reward_model",
        "policies",
    ):
        page.goto(f"/p/{project.slug}/{word.rstrip('/')}{'' if '?' in word else '/'}")
        axe(page)
        fits(page)


def test_tables_and_the_lineage_of_policies_are_whole(page_for, alice, project, workbench):
    page = page_for(alice)
    page.goto(f"/p/{project.slug}/policies/")
    cut = page.evaluate("""() => [...document.querySelectorAll(".panel-flush, .lineage-box")]
        .filter((one) => one.scrollWidth > one.clientWidth).map((one) => [one.className, one.scrollWidth])""")
    assert cut == []


def test_a_phone_shows_both_answers_of_a_comparison_at_full_width(page_for, alice, project, workbench):
    page = page_for(alice, width="phone")
    page.goto(f"/p/{project.slug}/comparisons/{workbench['comparison'].pk}/")
    one, two = (page.locator(f".side-{side}").bounding_box() for side in "ab")
    assert min(one["width"], two["width"]) > 340
    assert two["y"] >= one["y"] + one["height"]


def test_from_prompts_to_comparisons_by_hand(page_for, erin, project, workbench):
    page = page_for(erin)
    page.goto(f"/p/{project.slug}/prompts/")
    page.get_by_role("link", name="Add prompts").click()
    page.get_by_label("Prompts, one a line").fill("Write to Ann.\nWrite to Bea.\nWrite to Ann.")
    page.get_by_label("Prompt set").fill("fresh")
    page.get_by_role("button", name="Add the prompts").click()
    page.get_by_text("line 3 says the same as line 1").wait_for()
    page.get_by_label("Prompts, one a line").fill("Write to Ann.\nWrite to Bea.\nWrite to Cy.")
    page.get_by_role("button", name="Add the prompts").click()
    page.get_by_text("3 prompts added.").wait_for()

    page.goto(f"/p/{project.slug}/samples/new/")
    page.get_by_label("Prompt set").select_option("fresh")
    page.get_by_label("Answers to each prompt").fill("5")
    page.get_by_text("3 × 5").wait_for()
    assert page.locator("[data-total]").inner_text() == "15"
    page.get_by_role("main").get_by_role("button", name="Sample answers").click()
    page.wait_for_url("**/samples/runs/*/")
    run = SamplingRun.objects.latest("id")
    page.get_by_text("0 / 15").wait_for()

    for prompt_id in run.prompt_ids:  # the worker, in a word
        for index in range(5):
            Completion.objects.create(
                project=project, prompt_id=prompt_id, run=run, index=index, text=f"Dear {index}", model_name="sft"
            )
    Job.objects.filter(group=run.group).update(state="succeeded")
    page.get_by_text("15 / 15").wait_for()  # without a reload
    page.reload()
    page.get_by_label("Pairs", exact=True).select_option("random")
    page.get_by_label("Pairs per prompt, at most").fill("2")
    page.get_by_role("button", name="Make comparisons").click()
    page.get_by_text("6 comparisons made.").wait_for()
    assert Comparison.objects.filter(prompt_id__in=run.prompt_ids).count() == 6


def test_a_judge_is_tested_made_and_asked(page_for, erin, project, workbench):
    page = page_for(erin)
    page.goto(f"/p/{project.slug}/judges/")
    page.get_by_role("link", name="New judge").click()
    page.get_by_role("link", name="Language model on an endpoint").click()
    page.get_by_label("Base URL").fill("http://127.0.0.1:9/v1")
    page.get_by_label("Model").fill("big")
    page.get_by_label("API key").fill("sk-canary")
    page.get_by_role("button", name="Test connection").click()
    page.get_by_text("add 127.0.0.1:9 to PREFLOOP_ENDPOINT_ALLOW").wait_for()
    assert page.get_by_label("API key").input_value() == "sk-canary"  # the form stayed as it was
    page.get_by_label("Endpoint").select_option("hosted")
    assert not page.get_by_label("Base URL").is_visible()
    page.get_by_label("Endpoint").select_option("")
    for label in ("Base URL", "Model", "API key"):
        page.get_by_label(label).fill("")
    page.get_by_label("Endpoint").select_option("hosted")
    page.get_by_label("Name", exact=True).fill("second-judge")
    page.get_by_role("button", name="Create judge").click()
    page.get_by_text("second-judge, version 1, has been created.").wait_for()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("is judging 3 comparisons").wait_for()
    page.get_by_text("0 / 3").wait_for()
    page.get_by_role("button", name="Use for labels").click()
    page.get_by_text("now gives the label where no person has voted").wait_for()


@pytest.mark.parametrize("form", ["judges/new/?kind=llm", "policies/endpoints/new/", "judges/endpoints/{}/"])
def test_what_a_connection_test_said_goes_when_what_was_tested_changes(page_for, erin, project, workbench, form):
    page = page_for(erin)
    page.goto(f"/p/{project.slug}/{form.format(workbench['endpoint'].pk)}")
    page.get_by_label("Base URL").fill("http://127.0.0.1:9/v1")
    page.get_by_role("button", name="Test connection").click()
    said = page.get_by_text("add 127.0.0.1:9 to PREFLOOP_ENDPOINT_ALLOW")
    said.wait_for()
    if "llm" in form:
        page.locator("textarea[name=criterion]").fill("kinder")
        assert said.is_visible()  # the criterion was not tested
        page.get_by_label("Endpoint").select_option("hosted")
    else:
        page.get_by_label("API key").fill("sk-other")
    said.wait_for(state="detached")


def test_filters_live_in_the_address_and_work_without_scripts(page_for, bob, project, workbench):
    page = page_for(bob, scripts=False)
    page.goto(f"/p/{project.slug}/prompts/")
    page.get_by_label("Search prompts").fill("Tom")
    page.get_by_role("button", name="Search", exact=True).click()
    assert "q=Tom" in page.url
    page.get_by_role("link", name="Write to Tom.").wait_for()
    assert page.get_by_role("link", name="Write to Maria.").count() == 0
