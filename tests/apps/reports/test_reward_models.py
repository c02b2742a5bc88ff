"""The report on reward models, by hand, on all pairs and on a prompt set, on the page, in files and in the API."""

from __future__ import annotations

import pytest

from apps.labels.models import Judge
from apps.policies.models import Checkpoint


@pytest.fixture
def judged(project, make_prompt, make_comparison, make_verdict, make_judge):
    """Twelve gold pairs of two prompt sets; a reward model is right on nine, and always likes the longer answer."""
    weights = Checkpoint.objects.create(project=project, name="rm", role="reward", path="nowhere", fingerprint="0" * 64)
    model = Judge.objects.create(
        project=project, name="rm", kind="reward_model", checkpoint=weights, order_policy="random"
    )
    other = make_judge(project, "a language model")
    subsets = ["alpacaeval-easy"] * 4 + ["math-prm"] * 4 + ["hep-go"] * 4
    for at, subset in enumerate(subsets):
        prompt = make_prompt(
            project, metadata={"subset": subset}, prompt_set="maths" if subset == "math-prm" else "main"
        )
        right = at % 4 > 0
        texts = ("a longer answer", "short") if right else ("short", "a longer answer")
        pair = make_comparison(project, texts, prompt=prompt, gold="first", held_out=True)
        said = "first" if right else "second"
        for order in ("01", "10"):
            make_verdict(pair, said, judge=model, order=order, p_first=0.8 if right else 0.2)
        make_verdict(pair, "second", judge=other)
    return project


def test_reward_models_are_reported_by_set_and_slice_with_their_leans(judged, bob, client_for, api_for):
    at, api = f"/api/v1/projects/{judged.slug}/reports/reward-models/", api_for(bob)
    report = api.get(at, {"key": "subset"}).json()
    (model,) = report["models"]  # the language model is none
    assert (model["name"], model["n"], model["accuracy"]) == ("rm", 24, 0.75)
    assert model["longer_preferred"]["rate"] == 1.0
    assert model["first_slot"]["rate"] == 0.5  # the same answer in both orders
    assert model["ece"] == pytest.approx((18 * 0.2 + 6 * 0.8) / 24)  # the first answer is always the better one
    assert {one["name"]: (one["n"], one["k"]) for one in model["slices"]} == {
        "alpacaeval-easy": (8, 6), "math-prm": (8, 6), "hep-go": (8, 6),
    }  # fmt: skip
    assert {one["name"]: one["rate"] for one in model["reward_bench"]} == {"Chat": 0.75, "Reasoning": 0.75}
    assert model["reward_bench_score"] == 0.75
    (maths,) = api.get(at, {"set": "maths"}).json()["models"]
    assert (maths["n"], maths["slices"], [one["name"] for one in maths["reward_bench"]]) == (8, [], ["Reasoning"])
    assert api.get(at, {"set": "nothing"}).status_code == 400
    client, page = client_for(bob), f"/p/{judged.slug}/reports/reward-models"
    shown = client.get(f"{page}/", {"key": "subset"}).content.decode()
    assert "Accuracy by subset" in shown
    assert "mean of the categories" in shown
    assert "a language model" not in shown
    assert client.get(f"{page}/", {"key": "nothing"}).status_code == 404
    assert client.get(f"{page}.json", {"key": "subset"}).json() == report
    assert "models / rm / accuracy,0.75" in client.get(f"{page}.csv").content.decode()


def test_without_a_reward_model_the_page_says_what_to_do(project, bob, client_for):
    assert (
        "No reward model has judged"
        in client_for(bob).get(f"/p/{project.slug}/reports/reward-models/").content.decode()
    )
