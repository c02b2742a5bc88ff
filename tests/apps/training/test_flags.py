"""Single answers that an import calls desirable or not: what learns from them, what refuses them, where they show."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.exchange.exports import BadExport, export_lines, export_some
from apps.exchange.left_out import left_out
from apps.exchange.services import import_file
from apps.labels.flags import flags_of
from apps.labels.models import Score
from apps.labels.services import preferences_derive
from apps.policies.store import store_path
from apps.prompts.models import Prompt
from apps.rankings.services import override_create
from apps.samples.models import Comparison, Completion, Exposure
from apps.samples.services import comparisons_create
from apps.training.loops.counterfactual import counterfactual_start
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import loop_obstacle, loop_start
from apps.training.models import Counterfactual, TrainingRun
from apps.training.rounds.evaluators import labellers_of
from apps.training.rounds.loop_judge import LoopRefused
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import CATALOGUE, get_recipe
from prefloop.recipes.snapshots import read_rows

pytestmark = pytest.mark.django_db
ROWS = [{"prompt": f"Thank Maria, {at}.", "completion": f"Dear Maria {at}", "label": at % 3 == 0} for at in range(6)]


@pytest.fixture
def flagged(loop_project, tmp_path, settings):
    """A project with six flagged answers of a file and no comparison."""
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()
    path = tmp_path / "unpaired.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def bring():
        return import_file(project=loop_project, path=path, name=path.name, created_by=None, now=timezone.now())

    bring()
    loop_project.bring = bring
    return loop_project


@pytest.fixture
def compared(loop_project, make_comparison, make_vote):
    """One labelled comparison beside them."""
    row = make_comparison(loop_project, ("better", "worse"), prompt=loop_project.prompts.filter(split="train").first())
    make_vote(row, "first")
    preferences_derive(project=loop_project, now=timezone.now())
    return row


def trained(loop):
    run = TrainingRun.objects.get(round__loop=loop)
    return run, read_rows(store_path(run.snapshot.path), "answers")


@pytest.mark.slow
def test_flags_alone_are_a_training_set_for_single_answers(flagged, drive, bob, client_for):
    seen = forecast(project=flagged, recipe=get_recipe("kto"), n_rounds=1)
    loop = loop_start(project=flagged, recipe="kto")
    drive()
    run, rows = trained(loop)
    assert [(row.prompt, row.completion, row.desirable) for row in rows] == [tuple(row.values()) for row in ROWS]
    assert (seen.rows, seen.flags, seen.steps, run.snapshot.n_pairs) == (6, 6, 1, 6)
    assert run.snapshot.sources == {"flag:dataset": 6}
    page = client_for(bob).get(f"/p/{flagged.slug}/policies/{run.output_id}/labels/").content.decode()
    assert "6 of its rows are single answers that an import calls desirable or not" in page
    form = client_for(bob).get(f"/p/{flagged.slug}/loops/new/kto/").content.decode()
    assert "6 imported with a flag" in form


@pytest.mark.slow
def test_flags_follow_the_answers_of_comparisons(flagged, compared, drive):
    seen = forecast(project=flagged, recipe=get_recipe("kto"), n_rounds=1)
    loop = loop_start(project=flagged, recipe="kto")
    drive()
    rows = trained(loop)[1]
    assert [row.completion for row in rows] == ["better", "worse", *(row["completion"] for row in ROWS)]
    assert (seen.rows, seen.flags) == (8, 6)


@pytest.mark.parametrize(
    "name", [one.name for one in CATALOGUE.values() if one.label.by == "preferences" and not one.needs]
)
def test_who_compares_answers_refuses_flags_alone_in_one_sentence(flagged, name):
    recipe = get_recipe(name)
    if recipe.objective.takes_single_answers:
        assert loop_obstacle(flagged, recipe) is None
        return
    with pytest.raises(LoopRefused) as refused:
        loop_start(project=flagged, recipe=name)
    assert str(refused.value) == (
        f"{name} needs comparisons with a label, and the project has only flags of single answers, from which kto can "
        "learn: annotate some pairs, or ask a judge"
    )


@pytest.mark.slow
def test_the_labels_that_a_recipe_names_decide_over_flags_too(flagged, compared, drive, make_judge):
    make_judge(flagged, "critic")
    for name, n in (("people", 0), ("critic", 0), ("dataset", 6)):
        recipe = apply_settings(get_recipe("kto"), {"label.judge": name})
        assert forecast(project=flagged, recipe=recipe, n_rounds=1).flags == n
    loop = loop_start(project=flagged, recipe="kto", settings={"label.judge": "dataset"})
    drive()
    assert [row.source for row in trained(loop)[1]] == ["human"] * 2 + ["flag:dataset"] * 6
    assert "dataset" in labellers_of(flagged, get_recipe("kto"), judge=None)


@pytest.mark.slow
def test_prompts_are_drawn_among_those_with_a_label_or_a_flag(flagged, compared, drive):
    chosen = set()
    for seed in range(6):
        loop = loop_start(project=flagged, recipe="kto", settings={"prompts.n": 3}, seed=seed)
        drive()
        prompts = {row.prompt for row in trained(loop)[1]}
        assert len(prompts) == 3
        chosen |= prompts
    assert compared.prompt.text in chosen
    assert any(prompt.startswith("Thank Maria, ") for prompt in chosen)
    assert forecast(project=flagged, recipe=apply_settings(get_recipe("kto"), {"prompts.n": 3}), n_rounds=1).flags == 3


@pytest.mark.slow
def test_flagged_answers_that_were_cut_are_left_out_where_the_recipe_says_so(flagged, drive):
    cut = Completion.objects.filter(scores__flag=True).first()
    Completion.objects.filter(pk=cut.pk).update(finished=False)
    for settings, kept in (({}, 6), ({"filter.cut_answers": "leave-out"}, 5)):
        recipe = apply_settings(get_recipe("kto"), settings)
        assert forecast(project=flagged, recipe=recipe, n_rounds=1).flags == kept
        loop = loop_start(project=flagged, recipe="kto", settings=settings)
        drive()
        rows = trained(loop)[1]
        assert len(rows) == kept
        assert [row.completion for row in rows if row.cut] == ([] if settings else [cut.text])


def test_the_last_flag_counts_and_held_out_prompts_give_none(flagged, make_judge):
    first, second, third = Completion.objects.filter(scores__flag=True).order_by("id")[:3]
    said = first.scores.get()
    Score.objects.create(judge=said.judge, completion=first, sample=1, value=0.0, flag=True)
    Prompt.objects.filter(pk=second.prompt_id).update(split="eval")
    other = Completion.objects.create(project=flagged, prompt=third.prompt, index=1, text="other")
    comparisons_create(project=flagged, pairs=[(third, other)], origin="import")
    Comparison.objects.update(held_out=True, gold="first")
    found = {flag.completion_id: flag.value for flag in flags_of(flagged)}
    assert found[first.pk] == 0.0
    assert len(found) == 4
    assert not {second.pk, third.pk} & found.keys()


@pytest.mark.slow
def test_a_round_without_overrides_keeps_its_flags(
    flagged, compared, drive, bob, make_comparison, make_judge, make_verdict
):
    critic = make_judge(flagged, "critic", order_policy="random")
    row = make_comparison(flagged, ("kind", "rude"), prompt=compared.prompt)
    make_verdict(row, "first", judge=critic)
    override_create(comparison=row, judge=critic, user=bob, now=timezone.now(), kind="override", choice="second")
    flagged.label_judge = "critic"
    flagged.save()
    preferences_derive(project=flagged, now=timezone.now())
    loop = loop_start(project=flagged, recipe="kto")
    drive()
    counterfactual_start(round_=loop.rounds.get(index=1), by=None)
    with_overrides = trained(loop)[1]
    bare = Counterfactual.objects.get().run.snapshot
    rows = read_rows(store_path(bare.path), "answers")
    assert rows[-6:] == with_overrides[-6:]
    assert [row.desirable for row in rows[2:4]] != [row.desirable for row in with_overrides[2:4]]
    assert bare.sources["flag:dataset"] == 6


def test_the_unpaired_export_gives_the_same_lines_and_others_count_what_they_leave_out(flagged, alice, client_for):
    lines = [json.loads(line) for line in export_lines(project=flagged, format="kto")]
    assert lines == ROWS
    assert left_out(project=flagged, format="kto").total == 0
    assert left_out(project=flagged, format="trl").counts == {"flags": 6}
    with pytest.raises(BadExport, match="flags of single answers"):
        export_some(project=flagged, format="trl", labels="effective")
    assert list(export_lines(project=flagged, format="kto", labels="human")) == []
    page = client_for(alice).get(f"/p/{flagged.slug}/data/?format=sft").content.decode()
    assert "flags of single answers" in page


def test_who_exports_two_flags_has_seen_which_answer_is_better(flagged, alice):
    first = Completion.objects.filter(scores__flag=True).first()
    other = Completion.objects.create(project=flagged, prompt=first.prompt, index=1, text="other")
    comparisons_create(project=flagged, pairs=[(first, other)], origin="import")
    list(export_lines(project=flagged, format="kto", reader=alice))
    assert not Exposure.objects.exists()  # of the other answer nothing is said
    Score.objects.create(judge=first.scores.get().judge, completion=other, value=0.0, flag=True)
    list(export_lines(project=flagged, format="kto", reader=alice))
    assert Exposure.objects.get().comparison.second == other


def test_records_keep_the_mark_and_the_same_file_adds_nothing(flagged, tmp_path, capsys):
    assert flagged.bring().n_unchanged == 6
    assert Score.objects.filter(flag=True).count() == 6
    records = [json.loads(line) for line in export_lines(project=flagged, format="records")]
    said = [score for record in records for score in record.get("scores", ())]
    assert said[0] == {"judge": "dataset", "completion": 0, "value": 1.0, "state": "ok", "flag": True}
    for score in said:  # as a file of before there was the mark
        del score["flag"]
    path = tmp_path / "old.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    call_command("import_records", str(path), project=flagged.slug)
    assert Score.objects.count() == 6
    assert "Start a loop" in capsys.readouterr().out


@pytest.mark.slow
def test_an_answer_s_page_says_what_its_flag_is(flagged, bob, client_for):
    good, bad = Completion.objects.filter(scores__flag=True).order_by("id")[:2]
    for row, word in ((good, "<b>desirable</b>"), (bad, "<b>not desirable</b>")):
        page = client_for(bob).get(f"/p/{flagged.slug}/prompts/{row.prompt_id}/").content.decode()
        assert word in page
        assert "Score by dataset" not in page
