"""What was measured of checkpoints, on the nodes of their lineage and in the table beside it."""

from __future__ import annotations

import re

import pytest

from apps.policies.models import Checkpoint
from apps.training.lineage.measured import in_short, measured_of
from apps.training.models import Counterfactual, Loop, Round, TrainingRun

pytestmark = pytest.mark.django_db
POLICIES = "/p/letters-test/policies/"
REWARD = {"accuracy": 0.75, "accuracy_ci95": [0.6, 0.86], "n_held_out": 40, "reward_model": "scorer"}


def short(project):
    names = dict(Checkpoint.objects.filter(project=project).values_list("pk", "name"))
    return {names[pk]: in_short(one).replace("\u202f", " ") for pk, one in measured_of(project).items()}


@pytest.mark.slow
def test_a_node_shows_what_its_round_measured_and_says_it_in_full(start, drive, loop_project, bob, client_for):
    loop = start(n_rounds=2)
    drive()
    first, second = (row.output for row in loop.rounds.filter(index__gt=0).order_by("index"))
    page = client_for(bob).get(POLICIES).content.decode()
    nodes = {}
    for node in re.findall(r'<a class="lineage-node.*?</a>', page, re.S):
        pk = int(re.search(r'href="[^"]*/(\d+)/"', node).group(1))
        last = re.findall(r"<text[^>]*>([^<]*)</text>", node)[-1].replace("\u202f", " ")
        nodes[pk] = (re.search("<title>(.*?)</title>", node).group(1), last)
    scorer = Checkpoint.objects.get(name="scorer")
    assert {pk: last for pk, (_, last) in nodes.items()} == {
        loop.initial_id: "gold 2.00",  # against itself a start has no win rate and no KL to speak of
        first.pk: "gold 3.00 · win 60.0 % · KL 0.20",
        second.pk: "gold 4.00 · win 70.0 % · KL 0.40",
        scorer.pk: "not measured",
    }
    said = f"round 2 of loop {loop.pk}: gold score 4.00, win rate against the start 70.0 % [65.0, 75.0], "
    assert said + "KL from the start 0.40 nats" in nodes[second.pk][0]
    assert nodes[scorer.pk][0].endswith("; not measured")


@pytest.mark.slow
def test_the_table_says_the_same_with_intervals(start, drive, loop_project, bob, client_for):
    start(n_rounds=1)
    client = client_for(bob)
    before = client.get(POLICIES).content.decode()
    assert "Win rate" not in before  # nothing is measured: no column of dashes
    drive()
    table = client.get(POLICIES).content.decode().partition("<table")[2].partition("</table>")[0]
    rows = [re.sub(r"\s+", " ", re.sub("<[^>]*>", "", row)) for row in table.split("<tr>")[2:]]
    assert "3.00" in rows[0]
    assert "60.0 % [55.0, 65.0]" in rows[0]
    assert "0.20 nats" in rows[0]
    assert [("60.0" in row, "0.20" in row) for row in rows] == [(True, True), (False, False), (False, False)]


@pytest.mark.slow
def test_a_checkpoints_own_page_says_it_too(start, drive, loop_project, bob, client_for):
    loop = start(n_rounds=1)
    drive()
    made = loop.rounds.get(index=1).output
    page = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", client_for(bob).get(f"{POLICIES}{made.pk}/").content.decode()))
    assert "60.0 % [55.0, 65.0]" in page
    assert f"round 1 of loop {loop.pk}: gold score 3.00" in page
    fresh = Checkpoint.objects.create(project=loop_project, name="fresh", role="policy", fingerprint="f" * 64)
    assert "Not measured yet" in client_for(bob).get(f"{POLICIES}{fresh.pk}/").content.decode()


@pytest.mark.slow
def test_a_later_loop_that_starts_from_a_checkpoint_does_not_replace_its_figures(start, drive, loop_project):
    made = start(n_rounds=1)
    drive()
    output = made.rounds.get(index=1).output
    before = short(loop_project)[output.name]
    again = Loop.objects.create(project=loop_project, recipe="dpo", config=made.config, n_rounds=1, initial=output)
    Round.objects.create(loop=again, index=0, stage="done", output=output, result={"gold_mean": 9.0, "kl": 0.0})
    assert short(loop_project)[output.name] == before == "gold 3.00 · win 60.0 % · KL 0.20"


@pytest.mark.slow
def test_a_round_that_is_not_done_says_nothing_yet(start, drive, loop_project):
    loop = start(n_rounds=1)
    drive()
    round_ = loop.rounds.get(index=1)
    assert round_.output.name in short(loop_project)
    Round.objects.filter(pk=round_.pk).update(stage="evaluation")
    assert round_.output.name not in short(loop_project)


def test_a_reward_model_shows_its_accuracy(start, loop_project):
    scorer = Checkpoint.objects.get(name="scorer")
    loop = start(n_rounds=1)
    round_ = Round.objects.create(loop=loop, index=1, stage="done", result=REWARD)
    TrainingRun.objects.create(project=loop_project, round=round_, kind="reward-model", output=scorer, run_dir="runs/x")
    assert short(loop_project) == {"scorer": "accuracy 75.0 %"}
    Round.objects.filter(pk=round_.pk).update(result=REWARD | {"reward_model": "another"})
    assert short(loop_project) == {}  # an ingredient of a round that measured something else


@pytest.mark.slow
def test_what_was_trained_without_overrides_shows_its_own_figures(start, drive, loop_project, make_checkpoint):
    loop = start(n_rounds=1)
    drive()
    alone = make_checkpoint(loop_project, "alone", parent=loop.initial)
    run = TrainingRun.objects.create(project=loop_project, kind="dpo", output=alone, run_dir="runs/x")
    round_ = loop.rounds.get(index=1)
    beside = Counterfactual.objects.create(round=round_, run=run, result={"gold_mean": 1.5, "kl": 0.0076})
    assert "alone" not in short(loop_project)  # it is being measured
    Counterfactual.objects.filter(pk=beside.pk).update(state="done")
    assert short(loop_project)["alone"] == "gold 1.50 · KL 0.0076"
    assert short(loop_project)[round_.output.name] == "gold 3.00 · win 60.0 % · KL 0.20"


@pytest.mark.slow
def test_figures_take_four_queries_however_many_rounds(start, drive, loop_project, django_assert_num_queries):
    start(n_rounds=3)
    drive()
    with django_assert_num_queries(4):
        assert len(measured_of(loop_project)) == 4
