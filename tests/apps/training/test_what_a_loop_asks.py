"""Which prompts a loop asks, trains on and is measured on, and by what its answers are drawn."""

from __future__ import annotations

import pytest

from apps.core.ids import among
from apps.policies.endpoints import endpoint_create
from apps.policies.selectors import NoEndpoint
from apps.prompts.models import Prompt, PromptSet
from apps.prompts.selectors import NoSuchPromptSet, chosen_prompts
from apps.training.loops.starting import loop_start
from apps.training.models import LoopState
from apps.training.rounds.labels import trainable
from apps.training.rounds.loop_judge import LoopRefused
from prefloop.config import ConfigError
from prefloop.recipes.parts import Prompts

pytestmark = pytest.mark.django_db


@pytest.fixture
def maths(loop_project):
    """Of six training prompts four stand in `maths`, three of these are hard; of two held-out ones one is."""
    made = PromptSet.objects.create(project=loop_project, name="maths")
    rows = Prompt.objects.filter(project=loop_project)
    rows.filter(external_id__in=("t0", "t1", "t2", "t3", "e0")).update(prompt_set=made, metadata={"difficulty": 4})
    rows.filter(external_id="t3").update(metadata={"difficulty": "easy"})
    return loop_project


def names(rows):
    return sorted(rows.values_list("external_id", flat=True))


def test_sets_and_a_filter_choose_prompts(maths):
    assert names(chosen_prompts(maths, Prompts(), split="train")) == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert names(chosen_prompts(maths, Prompts(sets="maths"), split="train")) == ["t0", "t1", "t2", "t3"]
    assert names(chosen_prompts(maths, Prompts(sets="maths", where="difficulty>=3"))) == ["e0", "t0", "t1", "t2"]
    assert names(chosen_prompts(maths, Prompts(where="difficulty!=4"), split="train")) == ["t3", "t4", "t5"]
    other = maths.prompt_sets.exclude(name="maths").get().name
    assert len(names(chosen_prompts(maths, Prompts(sets=f"maths, {other}")))) == 8
    with pytest.raises(NoSuchPromptSet, match="no prompt set 'physics'"):
        chosen_prompts(maths, Prompts(sets="physics"))


def test_more_ids_than_a_query_takes_parameters_are_one_parameter(maths):
    wanted = Prompt.objects.filter(pk__in=among([*range(-300_000, 0), *maths.prompts.values_list("pk", flat=True)]))
    assert wanted.count() == 8
    assert Prompt.objects.filter(pk__in=among([])).count() == 0


@pytest.mark.slow
def test_a_loop_asks_and_trains_on_what_it_was_told(maths, start, drive, make_comparison):
    outside = make_comparison(maths, ("good", "bad"), prompt=maths.prompts.get(external_id="t5"))
    inside = make_comparison(maths, ("good", "bad"), prompt=maths.prompts.get(external_id="t1"))
    loop = start(n_rounds=1, **{"prompts.n": 0, "prompts.sets": "maths", "prompts.where": "difficulty>=3"})
    drive()
    loop.refresh_from_db()
    assert loop.state == LoopState.DONE
    run = loop.rounds.get(index=1).sampling_run
    assert sorted(Prompt.objects.filter(pk__in=run.prompt_ids).values_list("external_id", flat=True)) == [
        "t0",
        "t1",
        "t2",
    ]
    there = set(trainable(loop).values_list("id", flat=True))
    assert inside.pk in there
    assert outside.pk not in there
    assert trainable(loop).filter(origin=f"loop:{loop.pk}:1").exists()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"prompts.sets": "physics"}, "no prompt set 'physics' in project letters-test; there are: "),
        (
            {"prompts.where": "difficulty>=9"},
            "no training prompts among those that prompts.sets and prompts.where choose",
        ),
        ({"prompts.where": "difficulty>=hard"}, "one number after >= is missing at 'hard'"),
        ({"draws.engine": "endpoint:big", "draws.source": "initial"}, "no endpoint 'big' in project letters-test"),
    ],
)
def test_what_can_not_be_chosen_is_refused_in_a_sentence(maths, chosen, said):
    with pytest.raises((LoopRefused, NoSuchPromptSet, ConfigError, NoEndpoint), match=said):
        loop_start(project=maths, recipe="iterative-dpo", settings=chosen, n_rounds=1)
    assert not maths.loops.exists()


@pytest.mark.slow
def test_a_round_is_drawn_by_the_engine_that_the_recipe_names(maths, start, drive, fakes):
    by_vllm = start(n_rounds=1, **{"draws.engine": "vllm"})
    drive()
    assert by_vllm.rounds.get(index=1).sampling_run.engine == "vllm"
    endpoint = endpoint_create(project=maths, name="big", base_url="https://example.org/v1", model="m", api_key="")
    by_endpoint = start(n_rounds=1, **{"draws.engine": "endpoint:big", "draws.source": "initial"})
    drive()
    by_endpoint.refresh_from_db()
    assert by_endpoint.state == LoopState.DONE, by_endpoint.error
    run = by_endpoint.rounds.get(index=1).sampling_run
    assert (run.engine, run.endpoint, run.checkpoint) == ("endpoint", endpoint, None)
    assert "sampling.endpoint" in fakes.calls


@pytest.mark.slow
def test_the_form_offers_prompt_sets_and_engines_and_takes_what_was_ticked(maths, client_for, erin):
    endpoint_create(project=maths, name="big", base_url="https://example.org/v1", model="m", api_key="")
    client = client_for(erin)
    page = client.get("/p/letters-test/loops/new/iterative-dpo/").content.decode()
    assert page.count('type="checkbox" name="prompts.sets"') == 2
    for option in ("auto", "transformers", "vllm", "endpoint:big"):
        assert f'<option value="{option}"' in page
    sent = {"rounds": 1, "seed": 0, "start": "start", "prompts.sets": ["main", "maths"], "draws.engine": "vllm"}
    assert client.post("/p/letters-test/loops/new/iterative-dpo/", sent).status_code == 302
    assert maths.loops.get().chosen == {"prompts.sets": "main,maths", "draws.engine": "vllm"}
    refused = client.post("/p/letters-test/loops/new/iterative-dpo/", sent | {"draws.engine": "endpoint:big"})
    assert "an endpoint serves a fixed model" in refused.content.decode()
    refused = client.post("/p/letters-test/loops/new/iterative-dpo/", sent | {"prompts.where": "difficulty"})
    assert "one of = != &lt; &lt;= &gt; &gt;= is missing at the end" in refused.content.decode()
