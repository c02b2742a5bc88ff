"""The frontier: which loops stand in one picture, what it says, what it draws, and who may look."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.core.line_charts import Point, Series, lines
from apps.reports import frontier_charts, frontier_words
from apps.reports.frontier import analytic_rows, best_of_n_win_rate, frontier_report, points_of
from prefloop.seeds import derive_seed, sampler_seed
from prefloop.stats.best_of_n import best_of_n_law, kl_bound

pytestmark = pytest.mark.django_db
PAGE = "/p/letters-test/reports/frontier/"


def _result(kl, win, gold=None, *, half=0.02, gold_half=0.1, n=48):
    return {
        "kl": kl,
        "kl_ci95": [kl * 0.9, kl * 1.1],
        "win_rate_vs_initial": win,
        "win_rate_ci95": [win - half, win + half],
        "gold_mean": gold,
        "gold_ci95": None if gold is None else [gold - gold_half, gold + gold_half],
        "mean_length": 101.5,
        "n_eval_prompts": n,
        "n_eval_samples": 4 * n,
    }


@pytest.fixture
def make_start(project):
    from apps.policies.models import Checkpoint

    def make(name="start", *, of=project, fingerprint="0"):
        fields = {"role": "policy", "path": "x", "fingerprint": fingerprint * 64}
        return Checkpoint.objects.create(project=of, name=name, **fields)

    return make


@pytest.fixture
def make_loop(project):
    """make_loop(start, [result, …], prompts=[ids]): round 0 is the start, each later round its own checkpoint."""
    from apps.policies.models import Checkpoint
    from apps.samples.models import SamplingRun
    from apps.training.models import Loop, Round
    from prefloop.recipes.catalogue import get_recipe

    def make(start, results, *, of=project, recipe="iterative-dpo", prompts=None, seed=0, judge=None, max_tokens=96):
        config = get_recipe(recipe).to_json()
        fields = {"recipe": recipe, "config": config, "n_rounds": 3, "seed": seed, "state": "done"}
        loop = Loop.objects.create(project=of, initial=start, judge=judge, **fields)
        for index, result in enumerate(results):
            name = f"loop-{loop.pk}-round-{index}"
            out = start
            if index:
                out = Checkpoint.objects.create(project=of, name=name, role="policy", path=name, fingerprint=name)
            if prompts:
                run = {"checkpoint": out, "prompt_ids": prompts, "n": 4, "max_tokens": max_tokens}
                run["seed"] = sampler_seed(derive_seed(seed, "evaluation"), "evaluation")
                SamplingRun.objects.create(project=of, purpose="evaluation", **run)
            ended = timezone.now()
            times = {"started_at": ended - timedelta(seconds=30), "ended_at": ended}
            Round.objects.create(loop=loop, index=index, stage="done", output=out, result=result, **times)
        return loop

    return make


def _loops(report):
    return [[line["loop"] for line in group["loops"]] for group in report["groups"]]


# --- best of n --------------------------------------------------------------------------------------------------------


def test_the_analytic_curve_goes_through_the_hand_worked_points():
    rows = {row["n"]: row for row in analytic_rows(3.0)}
    assert sorted(rows) == [1, 2, 4, 8, 16, 32, 64]  # 64 is the first whose bound, 3.17 nats, reaches 3
    assert (rows[1]["kl_bound"], rows[1]["win_rate"]) == (0.0, 0.5)
    assert rows[2]["kl_bound"] == pytest.approx(math.log(2) - 0.5)  # 0.193147
    assert rows[4]["kl_bound"] == pytest.approx(0.636294, abs=1e-6)
    assert rows[16]["kl_bound"] == pytest.approx(1.835089, abs=1e-6)
    assert (rows[2]["win_rate"], rows[4]["win_rate"]) == (pytest.approx(2 / 3), 0.8)


def test_the_analytic_win_rate_is_that_of_the_exact_law_without_atoms():
    """A second road: best of n of many equally likely, distinct outcomes against one draw (a tie is half)."""
    m = 4000
    reward = np.arange(m)
    below = (reward + 0.5) / m  # share of one draw that each outcome beats, ties half
    for n in (1, 2, 4, 16):
        law = best_of_n_law(np.full(m, 1 / m), reward, n)
        assert law @ below == pytest.approx(best_of_n_win_rate(n), abs=1e-3)
        assert float(np.sum(law[law > 0] * np.log(law[law > 0] * m))) == pytest.approx(kl_bound(n), abs=5e-3)


@pytest.mark.slow
@given(st.floats(0.05, 300.0))
def test_the_drawn_curve_rises_and_never_leaves_the_axis(most_kl):
    points = frontier_charts.analytic_points(most_kl)
    assert (points[0].x, points[0].y) == (pytest.approx(0.0, abs=1e-12), 0.5)
    assert all(a.x <= b.x and a.y <= b.y for a, b in itertools.pairwise(points))
    assert points[-1].x <= min(most_kl, kl_bound(4096) + 1e-9)
    assert all(0.5 <= point.y < 1 for point in points)
    assert points[-1].x >= 0.6 * min(most_kl, kl_bound(4096))  # it reaches across


def test_a_best_of_fewer_than_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        best_of_n_win_rate(0)


# --- what stands in one picture ---------------------------------------------------------------------------------------


def test_loops_are_compared_only_from_one_policy_on_the_same_prompts_in_the_same_way(make_start, make_loop, project):
    start, twin, other = make_start(), make_start("twin"), make_start("other", fingerprint="1")
    rows = [_result(0, 0.5, 1.0), _result(0.5, 0.7, 2.0)]
    a = make_loop(start, rows, prompts=[1, 2, 3, *range(10, 55)], seed=1)
    b = make_loop(twin, rows, prompts=[3, 2, 1, *range(10, 55)], seed=2)  # the same weights and prompts
    c = make_loop(other, rows, prompts=[1, 2, 3, *range(10, 55)], seed=3)
    d = make_loop(start, rows, prompts=[1, 2, 9, *range(10, 55)], seed=4)  # as many prompts, but others
    e = make_loop(start, rows, prompts=[1, 2, 3, *range(10, 55)], seed=5, max_tokens=32)
    report = frontier_report(project=project)
    assert _loops(report) == [[a.pk, b.pk], [e.pk], [d.pk], [c.pk]]
    first = report["groups"][0]
    assert (first["n_prompts"], first["max_tokens"], first["measured_by"]) == (48, 96, "gold")


def test_win_rates_by_two_judges_are_two_pictures(make_start, make_loop, make_judge, project):
    start = make_start()
    rows = [_result(0, 0.5), _result(0.5, 0.7)]
    a, b = (make_loop(start, rows, judge=make_judge(project, name)) for name in ("zoe", "abe"))
    report = frontier_report(project=project)
    assert _loops(report) == [[b.pk], [a.pk]]
    assert [group["measured_by"] for group in report["groups"]] == ["abe", "zoe"]
    assert not report["has_gold"]


def test_prompts_added_in_the_middle_of_a_loop_part_its_rounds(make_start, make_loop, project):
    loop = make_loop(make_start(), [_result(0, 0.5), _result(0.4, 0.6), _result(0.9, 0.7, n=60)])
    report = frontier_report(project=project)
    assert [(group["n_prompts"], len(points_of(group))) for group in report["groups"]] == [(48, 2), (60, 1)]
    assert _loops(report) == [[loop.pk], [loop.pk]]


def test_a_point_says_all_that_was_measured(make_start, make_loop, project):
    make_loop(make_start(), [_result(0, 0.5, 2.0), _result(0.5, 0.7, 3.5)])
    start, point = points_of(frontier_report(project=project)["groups"][0])
    assert (start["win_rate_per_nat"], start["gold_per_nat"]) == (None, None)
    assert point["win_rate_per_nat"] == pytest.approx(0.4)
    assert point["gold_per_nat"] == pytest.approx(3.0)
    expected = {"n_eval_prompts": 48, "n_eval_samples": 192, "mean_length": 101.5, "seconds": 30.0, "round": 1}
    assert expected.items() <= point.items()


def test_what_measured_no_policy_is_named_and_another_project_is_not_looked_at(
    make_start, make_loop, project, other_project
):
    from apps.training.models import Loop

    reward = Loop.objects.create(project=project, recipe="reward-model", config={}, n_rounds=1, state="done")
    make_loop(make_start(of=other_project), [_result(0, 0.5)], of=other_project)
    report = frontier_report(project=project)
    assert report["groups"] == []
    assert report["left_out"] == [{"loop": reward.pk, "recipe": "reward-model", "state": "done"}]


def test_measured_best_of_n_is_a_reference_beside_loops_of_its_start(make_start, make_loop, project):
    start, other = make_start(), make_start("other", fingerprint="1")
    loop = make_loop(start, [_result(0, 0.5, 2.0), _result(0.5, 0.7, 3.0)])
    make_loop(other, [_result(0, 0.5, 2.0)])
    rows = [{"n": n, "mean": 2.0 + n / 4, "ci95": [1.9 + n / 4, 2.1 + n / 4], "kl_bound": kl_bound(n)} for n in (1, 2)]
    found = {"gold_mean": 2.5, "gold_ci95": [2.4, 2.6], "kl": kl_bound(2), "best_of_n": rows}
    bon = make_loop(start, [_result(0, 0.5, 2.0), found], recipe="best-of-n")
    without_truth = {"gold_mean": None, "kl": kl_bound(2), "best_of_n": rows}
    make_loop(start, [_result(0, 0.5, 2.0), without_truth], recipe="best-of-n")
    report = frontier_report(project=project)
    group = next(group for group in report["groups"] if group["initial"]["id"] == start.pk)
    assert [line["loop"] for line in group["loops"]] == [loop.pk]
    assert [one["loop"] for one in group["best_of_n"]] == [bon.pk]  # its own scores are no gold
    assert not group["best_of_n"][0]["same_prompts"]
    assert "best of n" in frontier_charts.frontier(group, y="gold", slug="x").wide
    elsewhere = next(group for group in report["groups"] if group["initial"]["id"] == other.pk)
    assert elsewhere["best_of_n"] == []


# --- what it says -----------------------------------------------------------------------------------------------------


def _sentence(project, y):
    return frontier_words.frontier_sentence(frontier_report(project=project), y)


def test_the_sentence_names_the_thriftiest_and_the_best_checkpoint(make_start, make_loop, project):
    loop = make_loop(make_start(), [_result(0, 0.5), _result(0.5, 0.7), _result(2.0, 0.85)])
    said = _sentence(project, "win")
    assert said.startswith(
        f"loop-{loop.pk}-round-1 wins most for its KL, 70.0\u202f% [68.0, 72.0] at 0.50\u202fnats (+20.0 points "
        "for 0.50 KL)"
    )
    assert f"loop-{loop.pk}-round-2 wins most, 85.0\u202f% [83.0, 87.0] at 2.00\u202fnats." in said


def test_the_sentence_says_why_the_steepest_is_not_the_thriftiest(make_start, make_loop, project):
    """53 % at 0.05 nats is 60 points per nat, but may be 51 %; 70 % at 0.5 nats is 40, with a narrower interval."""
    loop = make_loop(make_start(), [_result(0, 0.5), _result(0.05, 0.53), _result(0.5, 0.7), _result(2.0, 0.85)])
    said = _sentence(project, "win")
    assert said.startswith(f"loop-{loop.pk}-round-2 wins most for its KL, ")
    assert "(+20.0 points for 0.50 KL, the most at the worse ends of both intervals)" in said


def test_a_lucky_step_near_the_start_is_not_called_thrifty(make_start, make_loop, project):
    """51 % at 0.001 nats is ten points per nat and more, but its interval includes 50 %."""
    loop = make_loop(make_start(), [_result(0, 0.5), _result(0.001, 0.51), _result(0.5, 0.7)])
    assert _sentence(project, "win").startswith(f"Take loop-{loop.pk}-round-2: it beats start")


def test_nothing_clearly_better_is_said_so(make_start, make_loop, project):
    make_loop(make_start(), [_result(0, 0.5, 2.0), _result(0.5, 0.51, 2.05)])
    assert _sentence(project, "win").startswith("No checkpoint is clearly better than start")
    assert _sentence(project, "gold").startswith("No checkpoint is clearly better than start with gold 2.00")


def test_gold_that_falls_while_kl_grows_is_over_optimisation(make_start, make_loop, project):
    loop = make_loop(make_start(), [_result(0, 0.5, 2.0), _result(2, 0.8, 4.0), _result(6, 0.7, 3.0)])
    said = _sentence(project, "gold")
    assert f"Gold falls while KL grows in loop {loop.pk}, from 4.00 [3.90, 4.10] at 2.00" in said
    assert f"over-optimisation, so take loop-{loop.pk}-round-1" in said
    assert "over-optimisation" in _sentence(project, "win")  # the win rate is gold's word too


def test_a_fall_within_the_intervals_or_by_the_own_judge_is_not_called_over_optimisation(
    make_start, make_loop, make_judge, project
):
    make_loop(make_start(), [_result(0, 0.5, 2.0), _result(2, 0.8, 4.0), _result(6, 0.79, 3.85)])
    assert "none is over-optimised yet" in _sentence(project, "gold")
    group = frontier_report(project=project)["groups"][0]
    assert frontier_words.falls(group, "win") == []
    rows = [_result(0, 0.5), _result(2, 0.8), _result(6, 0.6), _result(7, 0.55)]
    make_loop(make_start("other", fingerprint="1"), rows, judge=make_judge(project, "zoe"))
    said = _sentence(project, "win")
    assert "falls while KL grows" in said
    assert "over-optimisation" not in said
    assert "it got worse, so take" in said


# --- the page ---------------------------------------------------------------------------------------------------------


def test_each_point_leads_to_its_checkpoint_and_has_its_crosses(make_start, make_loop, client_for, bob, project):
    start = make_start()
    loop = make_loop(start, [_result(0, 0.5, 2.0), _result(0.5, 0.7, 3.0), _result(1.5, 0.8, 3.5)])
    page = client_for(bob).get(PAGE).content.decode()
    wide = page[page.index('class="chart-wide"') : page.index('class="chart-narrow"')]
    ids = [start.pk, *(round_.output_id for round_ in loop.rounds.filter(index__gt=0).order_by("index"))]
    assert re.findall(r'<a href="/p/letters-test/policies/(\d+)/"><g><title>', wide) == [str(pk) for pk in ids]
    assert wide.count('class="whisker"') == 6  # win rate and KL of three points
    assert "is-dotted" in wide
    assert ">even<" in wide
    table = page[page.index("frontier-table") :]
    assert "48" in table
    assert "192" in table
    assert "[68.0, 72.0]" in table


@pytest.mark.slow
def test_the_address_chooses_gold_and_falls_back_where_there_is_none(make_start, make_loop, client_for, bob):
    loop = make_loop(make_start(), [_result(0, 0.5), _result(0.5, 0.7)])
    client = client_for(bob)
    for query in ("?y=gold", "?y=<script>", ""):
        page = client.get(PAGE + query)
        assert (page.status_code, page.context["y"]) == (200, "win")
        assert b"Gold score" not in page.content
    loop.rounds.update(result=_result(0.5, 0.7, 3.0))
    page = client.get(PAGE + "?y=gold")
    assert page.context["y"] == "gold"
    assert b"mean gold score" in page.content


@pytest.mark.slow
def test_the_json_holds_what_the_page_draws(make_start, make_loop, client_for, bob, project):
    make_loop(make_start(), [_result(0, 0.5, 2.0), _result(0.5, 0.7, 3.0)])
    answer = client_for(bob).get("/p/letters-test/reports/frontier.json")
    assert answer["Content-Disposition"] == 'attachment; filename="letters-test.frontier.json"'
    whole = json.loads(answer.content)
    version, made_at = whole.pop("version"), whole.pop("made_at")
    assert whole == json.loads(json.dumps(frontier_report(project=project)))
    page = client_for(bob).get(PAGE).content.decode()
    assert f"of version {version} of the measurements" in page
    assert made_at[:10] in page
    make_loop(make_start("other", fingerprint="1"), [_result(0, 0.5, 2.0)])
    assert json.loads(client_for(bob).get(f"{PAGE.rstrip('/')}.json").content)["version"] != version


def test_the_frontier_comes_as_a_table_and_as_a_page_that_stands_by_itself(
    make_start, make_loop, client_for, bob, project
):
    loop = make_loop(make_start(), [_result(0, 0.5, 2.0), _result(0.5, 0.7, 3.0)])
    answer = client_for(bob).get("/p/letters-test/reports/frontier.csv")
    assert answer["Content-Disposition"] == 'attachment; filename="letters-test.frontier.csv"'
    rows = dict(csv.reader(answer.content.decode().splitlines()))
    where = f"groups / 0 / loops / loop {loop.pk} / points / round 1"
    assert (rows[f"{where} / kl"], rows[f"{where} / win_rate_vs_initial"]) == ("0.5", "0.7")
    assert rows["version"]
    assert rows["made_at"]
    page = client_for(bob).get("/p/letters-test/reports/frontier.html?y=gold").content.decode()
    assert "<style>" in page
    assert "mean gold score" in page
    assert "<link" not in page
    assert "<script" not in page


def test_an_empty_project_is_told_the_next_step(client_for, bob, project):
    page = client_for(bob).get(PAGE).content.decode()
    assert "No policy has been measured yet" in page
    assert "run_recipe iterative-dpo --project letters-test" in page


@pytest.mark.parametrize("path", ["", ".json", ".csv", ".html"])
def test_a_stranger_an_annotator_and_another_projects_owner_see_nothing(path, client_for, ann, charlie, project):
    where = PAGE.rstrip("/") + (path or "/")
    assert client_for(None).get(where).status_code == 302
    assert client_for(ann).get(where).status_code == 404
    assert client_for(charlie).get(where).status_code == 404


def test_more_loops_cost_no_more_queries(make_start, make_loop, project, django_assert_max_num_queries):
    start = make_start()
    for seed in range(6):
        make_loop(start, [_result(0, 0.5, 2.0), _result(0.5, 0.7, 3.0)], seed=seed, prompts=[*range(48)])
    with django_assert_max_num_queries(5):
        assert len(frontier_report(project=project)["groups"][0]["loops"]) == 6


def test_hostile_names_stay_text(make_start, make_loop, client_for, bob):
    make_loop(make_start("<script>alert(1)</script>"), [_result(0, 0.5), _result(0.5, 0.7)])
    page = client_for(bob).get(PAGE).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


# --- the chart --------------------------------------------------------------------------------------------------------


def test_names_at_the_edge_never_lie_on_each_other():
    many = [Series(f"loop {i}", (Point(0, 0.5), Point(1 + i / 10, 0.7))) for i in range(12)]
    drawn = lines(many, title="t", labels_at_edge=True, height=400)
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="start" class="label">loop', drawn))
    assert len(heights) == 12
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 15.9
    assert heights[-1] <= 400 - 28 + 5


def test_a_curve_without_marks_is_only_a_line():
    drawn = lines([Series("c", (Point(0, 0, mark=False), Point(1, 1, mark=False)), dotted=True)], title="t")
    assert "<circle" not in drawn
    assert "is-dotted" in drawn
