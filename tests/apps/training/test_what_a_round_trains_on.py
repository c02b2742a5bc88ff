"""Which policy a round is held to, which answers it keeps, whose labels it learns: each against what was set up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.utils import timezone

from apps.labels.models import Judge
from apps.labels.services import preferences_derive
from apps.rankings.services import override_create
from apps.training.loops.counterfactual import labels_without_overrides
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import loop_start
from apps.training.models import Loop, SnapshotItem, TrainingRun
from apps.training.rounds.answers import Answers, kept_answers
from apps.training.rounds.labels import reward_model_labels, stored_labels
from apps.training.rounds.loop_judge import LoopRefused, loop_judge
from apps.training.rounds.material import label_material, round_material
from apps.training.sets.overrides import override_share
from prefloop.config import ConfigError, apply_settings
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.runspec import read_spec
from prefloop.recipes.snapshots import read_rows
from prefloop.types import Completion, Group


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("reference", ["initial", "previous"])
def test_a_later_round_is_held_to_the_policy_that_the_recipe_names(start, drive, reference):
    loop = start(n_rounds=2, **{"objective.reference": reference})
    drive()
    first, second = TrainingRun.objects.filter(round__loop=loop).order_by("id").select_related("reference", "start")
    assert second.start == first.output
    assert first.reference.name == "start"
    assert second.reference.name == ("start" if reference == "initial" else second.start.name)


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("reference", ["initial", "previous"])
def test_a_later_block_of_steps_is_held_to_the_policy_that_the_recipe_names(start, drive, reference):
    from apps.policies.store import store_path

    loop = start("oaif-dpo", n_rounds=2, **{"draws.n": "2", "objective.reference": reference})
    drive()
    _, second = TrainingRun.objects.filter(round__loop=loop).order_by("id")
    names = {"initial": loop.initial.path, "previous": second.start.path}
    folder = store_path(second.run_dir)
    assert (folder / (read_spec(folder).reference or "")).resolve() == store_path(names[reference])


@pytest.mark.slow
@pytest.mark.django_db
def test_a_tie_that_was_stored_is_trained_on_as_one_half(drive, loop_project, make_comparison, make_vote):
    prompt = loop_project.prompts.filter(split="train").first()
    make_vote(make_comparison(loop_project, prompt=prompt), "tie")
    preferences_derive(project=loop_project, now=timezone.now())
    loop = loop_start(project=loop_project, recipe="dpo")
    drive()
    assert [item.p_first for item in SnapshotItem.objects.filter(snapshot__training_runs__round__loop=loop)] == [0.5]


@pytest.fixture
def called_bad(loop_project, make_comparison, make_vote, make_judge, make_verdict, bob):
    """Five comparisons: a winner, a tie, two bad answers by people; two whose judge was overridden from or to that."""
    critic = make_judge(loop_project, "critic", order_policy="random")
    prompts = list(loop_project.prompts.filter(split="train").order_by("id"))
    rows = [make_comparison(loop_project, (f"yes {at}", f"no {at}"), prompt=prompts[at]) for at in range(5)]
    for row, choice in zip(rows, ("second", "tie", "both_bad"), strict=False):
        make_vote(row, choice)
    for row, said, choice in ((rows[3], "both_bad", "first"), (rows[4], "first", "both_bad")):
        make_verdict(row, said, judge=critic)
        override_create(comparison=row, judge=critic, user=bob, now=timezone.now(), kind="override", choice=choice)
    loop_project.label_judge = "critic"
    loop_project.save()
    preferences_derive(project=loop_project, now=timezone.now())
    return rows


@pytest.mark.slow
@pytest.mark.django_db
def test_of_two_bad_answers_both_are_undesirable_and_a_tie_is_left_out(
    loop_project, called_bad, drive, bob, client_for
):
    from apps.policies.store import store_path

    seen = forecast(project=loop_project, recipe=get_recipe("kto"), n_rounds=1)
    loop = loop_start(project=loop_project, recipe="kto")
    drive()
    run = TrainingRun.objects.get(round__loop=loop)
    rows = read_rows(store_path(run.snapshot.path), "answers")
    assert [(row.completion, row.desirable) for row in rows] == [
        ("yes 0", False), ("no 0", True), ("yes 2", False), ("no 2", False),
        ("yes 3", True), ("no 3", False), ("yes 4", False), ("no 4", False),
    ]  # fmt: skip
    assert (seen.rows, seen.rows_are, run.snapshot.n_pairs) == (8, "answers", 8)
    items = run.snapshot.items.order_by("id")
    assert [(item.p_first, item.both_bad) for item in items] == [(0.0, False), (0.5, True), (1.0, False), (0.5, True)]
    share = override_share(run.snapshot)
    assert (share.n_overrides, share.n_softened) == (2, 2)
    page = client_for(bob).get(f"/p/letters-test/policies/{run.output_id}/labels/").content.decode()
    assert page.count("is-both-bad") == 2
    # without the two overrides
    labels = labels_without_overrides(loop, loop.rounds.get(index=1), get_recipe("kto"), list(items))
    assert [(label.p_first, label.both_bad) for label in labels[2:]] == [(0.5, True), (1.0, False)]
    made = label_material(loop, loop.rounds.get(index=1), get_recipe("kto"), labels)
    assert [row.desirable for row in made.rows[4:]] == [False, False, True, False]


@pytest.mark.slow
@pytest.mark.django_db
def test_two_bad_answers_alone_are_enough_for_single_answers_and_not_for_pairs(
    loop_project, drive, make_comparison, make_vote
):
    prompt = loop_project.prompts.filter(split="train").first()
    make_vote(make_comparison(loop_project, prompt=prompt), "both_bad")
    preferences_derive(project=loop_project, now=timezone.now())
    with pytest.raises(LoopRefused, match="has a label yet"):
        loop_start(project=loop_project, recipe="dpo")
    loop = loop_start(project=loop_project, recipe="kto")
    drive()
    assert TrainingRun.objects.get(round__loop=loop).snapshot.n_pairs == 2


@pytest.mark.slow
@pytest.mark.django_db
def test_pairs_are_made_of_no_two_bad_answers(loop_project, called_bad, drive):
    loop = loop_start(project=loop_project, recipe="dpo")
    drive()
    items = SnapshotItem.objects.filter(snapshot__training_runs__round__loop=loop).order_by("id")
    assert [(item.comparison_id, item.p_first, item.p_first_without_overrides) for item in items] == [
        (called_bad[0].pk, 0.0, 0.0), (called_bad[1].pk, 0.5, 0.5), (called_bad[3].pk, 1.0, None),
    ]  # fmt: skip
    assert not any(item.both_bad or item.both_bad_without_overrides for item in items)


def answers_to(prompt, scores):
    rows = tuple(SimpleNamespace(pk=(prompt, at)) for at in range(len(scores)))
    return Answers(rows, Group(prompt, tuple(Completion(text=f"{prompt} {at}") for at in range(len(scores))), scores))


def test_rests_thresholds_are_on_scores_less_their_prompts_mean():
    """A reward model's scores of one prompt may all lie above another's: its answers are not better for that."""
    recipe = get_recipe("rest")
    low, high = answers_to("low", (0.0, 1.0, 2.0, 3.0)), answers_to("high", (100.0, 101.0, 102.0, 103.0))
    kept = [[row.pk for row, _ in kept_answers([low, high], recipe, step=step, seed=0)] for step in range(2)]
    assert kept[0] == [("low", 2), ("low", 3), ("high", 2), ("high", 3)]  # above the median, -1.5 … 1.5
    assert kept[1] == [("low", 3), ("high", 3)]


@pytest.fixture
def judged(loop_project, make_comparison, make_judge, make_verdict, make_vote):
    """Twelve comparisons of six prompts that two judges labelled, and one that only a person did."""
    critic, other = (make_judge(loop_project, name, order_policy="random") for name in ("critic", "other"))
    loop_project.label_judge = "critic"
    loop_project.save()
    for prompt in loop_project.prompts.filter(split="train"):
        for place in range(2):
            row = make_comparison(loop_project, (f"good {place}", f"bad {place}"), prompt=prompt)
            make_verdict(row, "first", judge=critic, p_first=0.9)
            make_verdict(row, "second", judge=other, p_first=0.2)
    voted = make_comparison(loop_project, ("kind", "rude"), prompt=prompt)
    make_vote(voted, "first")
    preferences_derive(project=loop_project, now=timezone.now())
    return loop_project


@pytest.mark.slow
@pytest.mark.django_db
def test_the_reward_model_of_rlaif_learns_a_judges_labels_alone(judged):
    def learned(**chosen):
        loop = loop_start(project=judged, recipe="rlaif", settings=chosen)
        found = [label.p_first for label in reward_model_labels(loop, loop.rounds.get(index=0))]
        return found

    assert learned() == [0.9] * 12
    assert learned(**{"label.judge": "other"}) == [0.2] * 12
    assert learned(**{"label.labels": "hard"}) == [1.0] * 12
    turned = learned(**{"label.noise": 0.5})
    assert {round(p, 6) for p in turned} == {0.9, 0.1}
    loop = loop_start(project=judged, recipe="rlhf")
    sources = {label.source for label in reward_model_labels(loop, loop.rounds.get(index=0))}
    assert sources == {"judge:critic", "human"}


@pytest.mark.slow
@pytest.mark.django_db
def test_an_ai_reward_model_of_other_labels_is_not_taken_for_this_one(judged, drive):
    made = loop_start(project=judged, recipe="rlaif", settings={"prompts.n": 2}, n_rounds=1)
    drive()
    made.refresh_from_db()
    assert made.judge.name == "ai-reward-model"
    recipe = get_recipe("rlaif")
    assert loop_judge(judged, recipe) == made.judge
    for chosen in ({"label.judge": "other"}, {"label.labels": "hard"}, {"label.noise": 0.1}):
        assert loop_judge(judged, apply_settings(recipe, chosen)) is None
    again = loop_start(project=judged, recipe="rlaif", settings={"prompts.n": 2, "label.judge": "other"}, n_rounds=1)
    drive()
    again.refresh_from_db()
    assert again.state == "done"
    assert again.judge != made.judge


@pytest.mark.slow
@pytest.mark.django_db
def test_the_prompts_of_stored_labels_are_drawn_by_the_seed(judged):
    def prompts(seed):
        loop = loop_start(project=judged, recipe="dpo", settings={"prompts.n": 3}, seed=seed)
        recipe, round_ = get_recipe("dpo"), loop.rounds.get(index=0)
        of_each = dict(judged.comparisons.values_list("id", "prompt_id"))
        labels = stored_labels(loop, round_, apply_settings(recipe, {"prompts.n": 3}))
        everyone = stored_labels(loop, round_, recipe)
        chosen = {of_each[label.comparison_id] for label in labels}
        assert labels == [label for label in everyone if of_each[label.comparison_id] in chosen]
        return chosen

    found = [prompts(seed) for seed in range(6)]
    assert {len(one) for one in found} == {3}
    assert prompts(0) == found[0]
    assert len({frozenset(one) for one in found}) > 1


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 8, 24), (1.0, 32, 32)])
def test_the_share_of_a_students_own_answers_is_lambda(
    judged, drive, make_prompt, make_comparison, make_judge, make_verdict, make_checkpoint, share, least, most
):
    assert get_recipe("gkd").objective.lambda_ == 0.5
    make_checkpoint(judged, "teacher")
    critic = Judge.objects.get(name="critic")
    for number in range(26):
        row = make_comparison(judged, prompt=make_prompt(judged, f"Thank Ann {number}.", split="train"))
        make_verdict(row, "first", judge=critic)
    preferences_derive(project=judged, now=timezone.now())
    chosen = {"objective.reference": "checkpoint:teacher", "objective.lambda": share}
    loop = loop_start(project=judged, recipe="gkd", settings=chosen, n_rounds=1)
    drive()
    round_ = loop.rounds.get(index=1)
    rows = round_material(loop, round_, apply_settings(get_recipe("gkd"), chosen)).rows
    assert len(rows) == 32
    own = sum(row.source == "student" for row in rows)
    assert least <= own <= most  # of 32 coins at one half fewer than 8 fall on one side once in a thousand


@pytest.mark.slow
@pytest.mark.django_db
def test_a_replay_takes_the_steps_that_were_logged_in_an_order_of_its_seed(loop_project, drive):
    from apps.policies.store import store_path

    needed = loop_start(project=loop_project, recipe="online-ipo", settings={"prompts.n": 4}, n_rounds=2)
    drive()
    logged = TrainingRun.objects.filter(round__loop=needed)
    for run in logged:
        (store_path(run.run_dir) / "events.jsonl").write_text("", "utf-8")
    specs = []
    for seed in (0, 1):
        loop = loop_start(project=loop_project, recipe="tandem-ipo", seed=seed)
        drive()
        specs.append(read_spec(store_path(TrainingRun.objects.get(round__loop=loop).run_dir)).online)
    assert all(
        isinstance(spec, OnlineSpec) and spec.total_steps == sum(run.step for run in logged) == 4 for spec in specs
    )
    assert [spec.replay_seed for spec in specs] == [0, 1]
    for key in ("objective.batch", "objective.epochs", "prompts.n", "label.judge", "review.mode"):
        with pytest.raises(ConfigError, match=f"no setting '{key}' here: .* logged"):
            loop_start(project=loop_project, recipe="tandem-ipo", settings={key: "2"})


@pytest.mark.django_db
def test_an_adapters_numbers_are_refused_where_all_weights_train(loop_project):
    loop_project.checkpoints.filter(name="start").update(n_parameters=750_000)
    with pytest.raises(ConfigError, match=r"adapter\.rank does nothing while adapter\.kind is auto: "):
        loop_start(project=loop_project, recipe="iterative-dpo", settings={"adapter.rank": 4})
    assert not Loop.objects.exists()
    loop_start(project=loop_project, recipe="iterative-dpo", settings={"adapter.rank": 4, "adapter.kind": "lora"})
    loop_project.checkpoints.filter(name="start").update(n_parameters=7_000_000_000)
    loop_start(project=loop_project, recipe="iterative-dpo", settings={"adapter.rank": 4})


@pytest.mark.django_db
def test_a_loop_of_before_that_took_what_is_refused_today_can_still_be_read(loop_project):
    from apps.training.changes import recipe_of
    from apps.training.models import LoopChange

    loop = loop_start(project=loop_project, recipe="rlhf")
    LoopChange.objects.create(loop=loop, from_round=1, chosen={"draws.temperature": 0.7, "objective.beta": 0.2})
    assert recipe_of(loop, 1).objective.beta == 0.2
    config = loop.config
    config["draws"][0] |= {"source": "run:777", "temperature": 0.7}
    config.pop("departures")
    config["objective"].pop("missing_eos_penalty")
    Loop.objects.filter(pk=loop.pk).update(config=config)
    loop.refresh_from_db()
    assert [(draw.source, draw.temperature) for draw in recipe_of(loop).draws] == [("current", 0.7)]
