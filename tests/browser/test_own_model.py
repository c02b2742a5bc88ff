"""A model of one's own, of 100M parameters, through the pages: looked at, imported, trained a round, taken away.

Its weights are random, as what it costs does not depend on what they say; its vocabulary is the bytes', so that its
answers are texts. The workers and the training processes are the real ones; the reward model is made on the way.
"""

from __future__ import annotations

import json
import re
import zipfile

import pytest

from apps.jobs.models import Job
from apps.policies.models import Checkpoint
from apps.training.models import Loop, TrainingRun
from workers.foreground import run_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

# as short as a whole round can be: nearly all of the minute is the model's
SETTINGS = {
    "rounds": "1",
    "prompts.n": "4",
    "draws.n": "2",
    "draws.max_tokens": "8",
    "objective.lr": "1e-5",
}
N_LABELLED = 4


@pytest.fixture
def model(tmp_path):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from prefloop.policy.loading import save_model
    from prefloop.policy.tiny import byte_tokenizer

    torch.manual_seed(0)
    tokenizer = byte_tokenizer(chat=True)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=768, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=4,
        intermediate_size=3072, tie_word_embeddings=True, max_position_embeddings=1024, eos_token_id=256,
        bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    directory = tmp_path / "imports" / "projects" / "letters-test" / "chat"  # an engineer's project is given this
    save_model(Qwen2ForCausalLM(config).to(torch.bfloat16), tokenizer, directory)
    return directory


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"What of {n}?", "chosen": f"I like {n}.", "rejected": f"Not {n}."} for n in range(N_LABELLED)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_a_model_of_100m_parameters_imports_samples_and_trains_a_round(
    project, erin, page_for, shoot, fits, settings, tmp_path, model, pairs
):
    settings.WORKER_THREADS = 1
    settings.STORE_DIR, settings.IMPORT_DIRS = tmp_path / "store", [tmp_path / "imports"]
    page = page_for(erin)
    imported(page, model, shoot, fits)
    given_data(page, pairs)
    loop = started(page, shoot)
    run_until(lambda: ended(loop), quiet=True)
    assert (loop.state, loop.error) == ("done", "")
    page.locator(".loop-line .status-done").wait_for()
    # one step of training is a point, which a line would not show
    page.locator("figure.curve canvas").first.wait_for()
    curves = "document.querySelector('loop-curves').charts.get('loss').plot"
    assert page.evaluate(f"() => {curves}.data[1].length === 1 && {curves}.series[1].points.show({curves}, 1)")
    shoot(page, "own-model-done")

    # a reward model and a policy, all weights of both, from the one that came in
    made = loop.rounds.get(index=1).output
    start = Checkpoint.objects.get(name="chat")
    assert (made.parent, made.n_parameters) == (start, start.n_parameters)
    runs = TrainingRun.objects.order_by("id")
    assert [run.kind for run in runs] == ["reward-model", "dpo"]
    assert [run.output.parent for run in runs] == [start, start]
    answers = loop.rounds.get(index=1).sampling_run.completions
    assert answers.count() == 8
    assert answers.exclude(text="").exists()
    assert not Job.objects.exclude(state="succeeded").exists()

    # and it can be taken away
    page.get_by_role("link", name=made.name, exact=True).first.click()
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download", exact=True).click()
    coming.value.save_as(tmp_path / "taken.zip")
    with zipfile.ZipFile(tmp_path / "taken.zip") as taken:
        (weights,) = [one for one in taken.infolist() if one.filename.endswith("model.safetensors")]
        assert weights.file_size > 4 * made.n_parameters  # fp32, as a CPU trains


def imported(page, model, shoot, fits):
    page.goto("/p/letters-test/policies/import/")
    page.get_by_label("Model", exact=True).fill(str(model))
    page.get_by_role("button", name="Check first").click()
    look = page.locator("#look").inner_text()
    assert "104,042,496" in look
    assert "all weights" in look
    training = re.search(r"to train all weights (\d+\.\d) GB", " ".join(look.split()))
    assert training is not None
    # 1.6 GiB of weights, gradients and two moments in fp32; the process and a pass's activations come to it
    assert 1.6 < float(training[1]) < 3.5
    shoot(page, "own-model-look")
    size = page.viewport_size
    page.set_viewport_size({"width": 360, "height": 780})
    fits(page)
    page.set_viewport_size(size)
    page.get_by_label("Name", exact=True).fill("chat")
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url("**/jobs/*/")
    run_until(lambda: Checkpoint.objects.exists(), quiet=True)


def given_data(page, pairs):
    page.goto("/p/letters-test/data/")
    page.locator("input[type=file]").set_input_files(str(pairs))
    page.get_by_role("button", name="Preview", exact=True).click()
    page.get_by_role("button", name=f"Import {N_LABELLED} records").click()
    page.get_by_text(f"{N_LABELLED} records are imported.").wait_for()
    page.goto("/p/letters-test/prompts/add/")
    page.locator("[name=text]").fill("What of it?")
    page.locator("[name=set_name]").fill("held-out")
    page.locator("[name=split]").select_option("eval")
    page.get_by_role("button", name="Add the prompts").click()
    page.wait_for_url("**/prompts/*")


def started(page, shoot):
    page.goto("/p/letters-test/loops/new/iterative-dpo/")
    forecast = page.locator("[data-forecast]")
    assert "All 104,042,496 parameters of chat are trained" in forecast.inner_text()
    page.evaluate("() => document.querySelectorAll('main details').forEach(more => { more.open = true })")
    for name, value in SETTINGS.items():
        page.locator(f"[name='{name}']").fill(value)
    forecast.get_by_text("4 prompts × 2").wait_for()
    assert "parameters of chat" not in forecast.inner_text()
    assert "one is trained from its labels first, in 2 steps" in forecast.inner_text()
    shoot(page, "own-model-form")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/letters-test/loops/*/")
    return Loop.objects.get()


def ended(loop):
    loop.refresh_from_db()
    return loop.state in ("done", "failed", "cancelled")
