"""Who measures what a loop makes, what they are asked, and the win rates that come of it. The judges are made up."""

from __future__ import annotations

import random

import pytest
from django.utils import timezone

from apps.judging.prices import costs_money
from apps.labels.models import Judge, JudgingRun, Preference, Verdict
from apps.labels.selectors import orders_for
from apps.labels.services import preferences_derive
from apps.policies.models import Endpoint
from apps.rankings import services
from apps.samples.models import Comparison, SamplingRun
from apps.training.lineage.measurers import evaluation_of, measurer_in_words, people_said
from apps.training.lineage.selectors import loop_rows
from apps.training.loops.counterfactual import counterfactual_start
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import advance_enqueue, loop_start
from apps.training.loops.steering import loop_change, loop_resume
from apps.training.models import Counterfactual, Loop
from apps.training.rounds.evaluators import NoEvaluator, evaluator_of
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe


@pytest.fixture
def asking(fakes):
    fakes.asks = True
    return fakes


@pytest.fixture
def critic(loop_project):
    endpoint = Endpoint.objects.create(project=loop_project, name="gpt", base_url="http://127.0.0.1:1/v1", model="m")
    return Judge.objects.create(
        project=loop_project, name="critic", kind="llm", endpoint=endpoint, criterion="kind", order_policy="both_agree"
    )


def plan(name="iterative-dpo", **settings):
    return apply_settings(get_recipe(name), settings)


# --- who measures ---


def test_the_truth_measures_where_there_is_one_else_who_labelled_nothing_else_who_did(loop_project, critic):
    scorer = Judge.objects.get(name="reward-model")
    found = evaluator_of(loop_project, plan(), judge=scorer)
    assert (found.name, found.judge, found.independent) == ("critic", critic, True)
    Judge.objects.filter(pk=critic.pk).update(retired_at=timezone.now())
    found = evaluator_of(loop_project, plan(), judge=scorer)
    assert (found.name, found.independent) == ("reward-model", False)
    loop_project.world = "letters"
    found = evaluator_of(loop_project, plan(), judge=scorer)
    assert (found.name, found.judge, found.independent) == ("truth", None, True)
    loop_project.world = ""
    Judge.objects.all().update(kind="imported")
    assert evaluator_of(loop_project, plan(), judge=None).name == ""


@pytest.mark.slow
def test_a_judge_with_a_price_measures_only_where_no_free_one_of_its_standing_can(
    loop_project, critic, make_comparison
):
    """Free and independent, then priced and independent, then those who labelled."""
    scorer = Judge.objects.get(name="reward-model")
    Endpoint.objects.filter(pk=critic.endpoint_id).update(output_price=10)
    critic.refresh_from_db()
    local = Endpoint.objects.create(project=loop_project, name="local", base_url="http://127.0.0.1:1/v1", model="m")
    free = Judge.objects.create(project=loop_project, name="zoe", kind="llm", endpoint=local, criterion="kind")
    both = Judge.objects.create(
        project=loop_project, name="all", kind="ensemble", options={"members": [critic.pk, free.pk], "rule": "mean"}
    )
    assert (costs_money(critic), costs_money(free), costs_money(both)) == (True, False, True)
    assert evaluator_of(loop_project, plan(), judge=scorer).name == "zoe"
    assert evaluator_of(loop_project, plan(**{"evaluation.judge": "critic"}), judge=scorer).name == "critic"
    Judge.objects.filter(pk__in=[free.pk, both.pk]).update(retired_at=timezone.now())
    found = evaluator_of(loop_project, plan(), judge=scorer)
    assert (found.name, found.independent) == ("critic", True)
    # where both have labelled, the one that costs nothing
    for judge in (critic, scorer):
        Preference.objects.create(
            comparison=make_comparison(loop_project),
            outcome="first",
            p_first=1,
            source=f"judge:{judge.name}",
            derived_at=timezone.now(),
        )
    found = evaluator_of(loop_project, plan("dpo"), judge=critic)
    assert (found.name, found.independent) == ("reward-model", False)


@pytest.mark.slow
def test_whose_labels_made_the_reward_model_that_labels_has_labelled_too(
    loop_project, critic, make_comparison, make_verdict, make_judge
):
    """The critic's verdicts are the stored labels: of a reward model made from them, and of an ensemble with it."""
    row = make_comparison(loop_project, prompt=loop_project.prompts.filter(split="train").first())
    make_verdict(row, "first", judge=critic)
    loop_project.label_judge = "critic"
    loop_project.save()
    preferences_derive(project=loop_project, now=timezone.now())
    found = evaluator_of(loop_project, plan("dpo"), judge=None)
    assert (found.name, found.independent) == ("reward-model", True)
    Judge.objects.filter(name="reward-model").delete()
    both = Judge.objects.create(
        project=loop_project, name="both", kind="ensemble", options={"members": [critic.pk]}, order_policy="random"
    )
    assert evaluator_of(loop_project, plan("rlhf"), judge=None).independent is False
    other = make_judge(loop_project, "other", kind="llm", endpoint=critic.endpoint)
    found = evaluator_of(loop_project, plan("rlhf"), judge=None)
    assert (found.judge, found.independent) == (other, True)
    assert evaluator_of(loop_project, plan("dpo", **{"evaluation.judge": "both"}), judge=None).judge == both
    assert not evaluator_of(loop_project, plan("dpo", **{"evaluation.judge": "both"}), judge=None).independent


@pytest.mark.slow
def test_a_judge_that_is_not_there_or_can_not_be_asked_is_refused_before_anything_is_written(
    loop_project, start, make_judge
):
    make_judge(loop_project, "old", kind="imported")
    with pytest.raises(NoEvaluator, match="has no world whose truth could measure"):
        start(**{"evaluation.judge": "truth"})
    with pytest.raises(NoEvaluator, match="judge 'old' was imported"):
        start(**{"evaluation.judge": "old"})
    with pytest.raises(Exception, match="no judge 'nobody-here' in project"):
        start(**{"evaluation.judge": "nobody-here"})
    assert not Loop.objects.exists()
    loop = start()
    with pytest.raises(NoEvaluator, match="judge 'old' was imported"):
        loop_change(loop=loop, settings={"evaluation.judge": "old"}, by=None)


# --- what is asked, and what comes of it ---


@pytest.mark.slow
def test_a_judge_compares_each_new_answer_once_with_the_start_and_once_with_the_round_before(
    start, drive, asking, critic
):
    loop = start(n_rounds=2)
    assert loop.config["evaluation"]["judge"] == "critic"
    drive()
    loop.refresh_from_db()
    assert loop.state == "done", loop.error
    first, second = loop.rounds.exclude(index=0).order_by("index")
    assert [run.judge.name for run in JudgingRun.objects.filter(purpose="evaluation")] == ["critic"] * 2
    # two held-out prompts, four answers; in round 1 the start is the round before
    assert first.evaluation["initial"] == first.evaluation["previous"]
    assert len(first.evaluation["initial"]) == 8
    asked = JudgingRun.objects.filter(purpose="evaluation").latest("pk").comparison_ids
    assert sorted(asked) == sorted([*second.evaluation["initial"], *second.evaluation["previous"]])
    for row in Comparison.objects.filter(pk__in=asked).select_related("first", "second"):
        assert row.held_out
        assert not row.for_people
        assert row.origin == f"evaluation:{loop.pk}:2"
        assert row.first.index != row.second.index  # answers of one number share their random numbers
    rows = loop_rows(loop)
    # one prompt all won (the later answer), the other all tied, in both orders
    assert [row["win_rate_vs_initial"] for row in rows] == [0.5, 0.75, 0.75]
    assert rows[0]["win_rate_ci95"] == [0.5, 0.5]
    assert rows[1]["win_rate_ci95"][0] < 0.75 < rows[1]["win_rate_ci95"][1]
    assert rows[2]["win_rate_vs_previous"] == 0.75
    assert evaluation_of(loop) == {"judge": "critic", "independent": True}
    assert measurer_in_words(loop) == "Win rates are measured by critic, which did not label the training data."


@pytest.mark.slow
def test_who_labelled_measures_where_nobody_else_can_and_that_is_said(start, drive, asking):
    loop = start(n_rounds=1)
    assert loop.config["evaluation"]["judge"] == ""
    drive()
    assert loop_rows(loop)[1]["win_rate_vs_initial"] == 0.75
    assert evaluation_of(loop) == {"judge": "reward-model", "independent": False}
    assert "also labelled the training data" in measurer_in_words(loop)


@pytest.mark.slow
def test_what_the_judge_finds_alike_because_it_is_alike_is_a_tie_that_nobody_is_asked_about(
    start, drive, asking, critic, monkeypatch
):
    monkeypatch.setattr("apps.samples.services.same_answer", lambda one, other: not one.startswith("Answer"))
    loop = start(n_rounds=1)
    drive()
    row = loop_rows(loop)[1]
    assert (row["win_rate_vs_initial"], row["n_undecided"]) == (0.5, 0)
    assert not JudgingRun.objects.filter(purpose="evaluation").exists()


@pytest.mark.slow
def test_replies_that_could_not_be_read_are_left_out_and_counted(start, drive, asking, critic):
    said = asking.handlers["judging.chunk"].run

    def mute(ctx):
        said(ctx)
        one = Verdict.objects.filter(outcome="tie").earliest("pk").comparison_id
        Verdict.objects.filter(comparison=one).update(state="unparseable", outcome="")

    asking.handlers["judging.chunk"] = type(asking.handlers["judging.chunk"])("judging.chunk", "cpu", mute)
    loop = start(n_rounds=1)
    drive()
    row = loop_rows(loop)[1]
    assert (row["win_rate_vs_initial"], row["n_undecided"]) == (pytest.approx((4 + 1.5) / 7), 1)


@pytest.mark.slow
def test_a_judge_that_is_down_ends_the_round_and_a_resumed_one_measures_nothing_anew(start, drive, asking, critic):
    asking.fail["judging.chunk"] = RuntimeError("down")
    loop = start(n_rounds=1)
    drive()
    loop.refresh_from_db()
    assert loop.state == "failed"
    calls = asking.calls.count("evaluation.run")
    loop_resume(loop=loop, by=None)
    drive()
    loop.refresh_from_db()
    assert loop.state == "done"
    assert asking.calls.count("evaluation.run") == calls
    assert JudgingRun.objects.filter(purpose="evaluation").count() == 1
    assert loop_rows(loop)[1]["win_rate_vs_initial"] == 0.75


@pytest.mark.slow
def test_a_loop_that_nobody_is_to_measure_has_kl_and_length_alone(start, drive, asking, critic):
    loop = start(n_rounds=1, **{"evaluation.judge": "none"})
    drive()
    assert not JudgingRun.objects.filter(purpose="evaluation").exists()
    assert evaluation_of(loop) == {"judge": None, "independent": None}
    assert measurer_in_words(loop).startswith("No win rate: no judge compares the answers.")


@pytest.mark.slow
def test_what_was_trained_without_overrides_is_measured_by_the_same_judge(start, drive, asking, critic, bob):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    round_ = loop.rounds.get(index=1)
    for pk in round_.review_comparison_ids:
        services.override_create(
            comparison=Comparison.objects.get(pk=pk),
            judge=loop.judge,
            user=bob,
            now=timezone.now(),
            kind="override",
            choice="first",
            reason="kinder",
        )
    advance_enqueue(loop)
    drive()
    counterfactual_start(round_=loop.rounds.get(index=1), by=bob)
    drive()
    found = Counterfactual.objects.get()
    assert found.state == "done", found.error
    assert found.result["win_rate_vs_initial"] == 0.75
    assert found.evaluation["by"] == "critic"


# --- people ---


@pytest.mark.slow
def test_people_get_their_pairs_blind_and_what_they_say_joins_the_judge(loop_project, drive, asking, critic, erin, ann):
    for number in range(12):
        loop_project.prompts.create(
            project=loop_project,
            prompt_set=loop_project.prompts.first().prompt_set,
            external_id=f"more{number}",
            text=f"Thank Ada for {number}.",
            split="eval",
        )
    loop = loop_start(
        project=loop_project,
        recipe="iterative-dpo",
        settings={"prompts.n": 4, "draws.n": 3, "evaluation.people": 12, "evaluation.n": 2},
        n_rounds=1,
        started_by=erin,
    )
    drive()
    round_ = loop.rounds.get(index=1)
    chosen = round_.evaluation["people"]
    assert len(chosen) == 12
    assert len(set(Comparison.objects.filter(pk__in=chosen).values_list("prompt_id", flat=True))) == 12
    assert set(
        Comparison.objects.filter(for_people=True, origin__startswith="evaluation").values_list("pk", flat=True)
    ) == set(chosen)
    (before,) = people_said(list(loop.rounds.all()))
    assert (before.n_asked, before.said.n_games, before.said.both.rate) == (12, 0, None)
    now, rng = timezone.now(), random.Random(0)
    for _ in range(12):
        given = services.assignment_next(project=loop_project, user=ann, now=now, rng=rng)
        assert given.comparison_id in chosen
        theirs = "left" if given.order == "01" else "right"  # the start's answer, which is the older one
        services.vote_create(assignment=given, choice=theirs, now=now)
    (after,) = people_said(list(loop.rounds.all()))
    assert after.said.n_games == 12
    assert after.said.human.rate == 0.0
    assert after.said.both.rate is not None
    assert after.said.both.rate < 0.2 < loop_rows(loop)[1]["win_rate_vs_initial"]
    assert after.said.both.interval is not None


# --- what it will cost ---


def test_the_forecast_says_who_will_measure_and_how_often_they_are_asked(loop_project, critic):
    seen = forecast(project=loop_project, recipe=plan(), n_rounds=3)
    assert (seen.measured_by, seen.independent, seen.evaluation_answers) == ("critic", True, 2 * 4 * 4)
    # 8 pairs with the start in each round, 8 with the round before in the later two, in both orders
    assert seen.evaluation_calls == 2 * 8 * 5
    few = forecast(project=loop_project, recipe=plan(**{"evaluation.prompts": 1, "evaluation.n": 3}), n_rounds=1)
    assert (few.evaluation_calls, few.evaluation_answers) == (2 * 3, 2 * 3)
    none = forecast(project=loop_project, recipe=plan(**{"evaluation.judge": "none"}), n_rounds=1)
    assert (none.measured_by, none.evaluation_calls) == ("", 0)


@pytest.mark.slow
def test_what_measuring_costs_is_said_before_the_start(loop_project, critic, bob, client_for, make_comparison):
    """At most, from the pairs that are there, where the judge was not asked yet; from its latest calls afterwards."""
    page = "/p/letters-test/loops/new/iterative-dpo/"

    def shown():
        body = client_for(bob).get(page).content.decode()
        return body[body.index("forecast-title") :]

    seen = forecast(project=loop_project, recipe=plan(), n_rounds=1)
    assert (seen.evaluation_dollars, seen.unpriced_calls, seen.capped_calls) == (None, 16, 0)
    assert "its calls may cost money: no price is set for its endpoint" in shown()
    Endpoint.objects.filter(pk=critic.endpoint_id).update(input_price=2, output_price=10)
    seen = forecast(project=loop_project, recipe=plan(), n_rounds=1)
    assert (seen.evaluation_dollars, seen.unpriced_calls, seen.capped_calls) == (None, 0, 16)
    assert "the cost of its calls can be estimated once there is a comparison" in shown()
    pair = make_comparison(loop_project)
    seen = forecast(project=loop_project, recipe=plan(), n_rounds=1)
    # 1,024 tokens of reply and a few thousand bytes, both ways, 16 times
    assert 16 * 1024 * 10e-6 < seen.evaluation_dollars == seen.dollars < 16 * (1024 * 10e-6 + 9000 * 2e-6)
    usual = forecast(project=loop_project, recipe=plan(), n_rounds=plan().rounds)  # as the page has it
    assert f"at most ${usual.evaluation_dollars:.2f} for its calls" in shown()
    assert "at most $" in " ".join(shown().split())
    Verdict.objects.create(
        judge=critic,
        comparison=pair,
        order="01",
        state="ok",
        outcome="first",
        usage={"prompt_tokens": 100, "completion_tokens": 30},
    )
    seen = forecast(project=loop_project, recipe=plan(), n_rounds=1)
    assert seen.evaluation_dollars == pytest.approx(16 * (100 * 2e-6 + 30 * 10e-6))
    assert seen.capped_calls == 0
    Endpoint.objects.filter(pk=critic.endpoint_id).update(input_price=0, output_price=0)
    assert "no price is set for its endpoint" in shown()  # although it has been asked
    Judge.objects.filter(pk=critic.pk).update(is_simulated=True)
    free = forecast(project=loop_project, recipe=plan(), n_rounds=1)
    assert (free.evaluation_dollars, free.judge_calls) == (0, 16)
    assert "its calls" not in shown()
    none = forecast(project=loop_project, recipe=plan(**{"evaluation.judge": "none"}), n_rounds=1)
    assert none.evaluation_dollars == 0


@pytest.mark.slow
def test_as_many_calls_are_made_as_were_foreseen(start, drive, asking, critic):
    seen = forecast(project=critic.project, recipe=plan(), n_rounds=2)
    start(n_rounds=2)
    drive()
    assert Verdict.objects.filter(judge=critic).count() == seen.evaluation_calls
    assert SamplingRun.objects.filter(purpose="evaluation").count() == 3


@pytest.mark.parametrize("policy", ["random", "both_agree", "average"])
def test_a_judge_that_compares_is_asked_in_both_orders_and_one_that_grades_in_one(critic, make_judge, policy):
    Judge.objects.filter(pk=critic.pk).update(order_policy=policy)
    critic.refresh_from_db()
    assert len(orders_for(critic, 7, both=True)) == 2
    grader = make_judge(
        critic.project, "grader", kind="llm", endpoint=critic.endpoint, mode="additive", order_policy="random"
    )
    assert len(orders_for(grader, 7, both=True)) == 1
