"""The benchmarks' own parts: what they print, what they refuse, and the small sizes on which they run here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _harness, _models, _train_sides, sample_vs_generate
from benchmarks._harness import Claim, in_turns, report


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_models, "CACHE", tmp_path)
    return tmp_path


def test_claims_are_printed_with_their_ratios_and_decide_the_exit_status(capsys: Any) -> None:
    fast = Claim.at_least("speed", 30.0, 10.0, "pairs/s", 2.5)
    small = Claim.at_most("memory", 300.0, 1000.0, "MiB", 0.6)
    assert report([fast, small], [], as_json=True) == 0
    keys = ["claim", "ours", "peer", "unit", "ratio", "wanted", "holds"]
    said = json.loads(capsys.readouterr().out)
    assert [list(row) for row in said] == [keys, keys]
    assert [(row["ratio"], row["holds"]) for row in said] == [(3.0, True), (0.3, True)]
    slow = Claim.at_least("speed", 24.0, 10.0, "pairs/s", 2.5)
    large = Claim.at_most("memory", 700.0, 1000.0, "MiB", 0.6)
    for claim in (slow, large):
        assert report([fast, claim], ["a note"], as_json=False) == 1
        assert "no" in capsys.readouterr().out.splitlines()[2]


def test_sides_take_turns_and_another_one_begins_each_round() -> None:
    order: list[str] = []
    answers = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert "".join(order) == "abbaab"
    assert {name: len(found) for name, found in answers.items()} == {"a": 3, "b": 3}


def test_draws_that_follow_a_law_pass_and_others_do_not() -> None:
    law = [0.5, 0.3, 0.199, 0.001]
    assert sample_vs_generate.p_value({"0": 500, "1": 300, "2": 199, "3": 1}, law) > 0.9
    assert sample_vs_generate.p_value({"0": 430, "1": 370, "2": 200}, law) < 1e-4


@pytest.mark.slow
def test_our_side_trains_on_the_pairs_and_counts_what_they_need(cache: Path) -> None:
    job = {"model": str(_models.model_dir("tiny")), "pairs": str(_models.pairs_file("tiny", 6)), "batch": 2}
    work = _train_sides.our_work(**job)
    embedding = 300 * 32
    body = work["weights"] - embedding
    seen = 192 * 193 // 2 + 2 * (64 * 192 + 64 * 65 // 2)
    # every pair is 192 + 2 * 64 tokens: 2 FLOPs a weight and token, and 4 a layer, channel and attended position
    assert work["reference_flops"] == 2 * body * 320 + 2 * embedding * 128 + 4 * 2 * 32 * seen
    assert work["train_flops"] == 3 * work["reference_flops"]
    done = _train_sides.ours(**job, n_pairs=6, warm=1, timed=1, lr=1e-3, device="cpu", dtype="float32")
    assert done["losses"][0] == pytest.approx(0.6931472, abs=1e-6)
    assert len(done["losses"]) == 3
    assert done["step_seconds"] > 0
    assert done["reference_seconds"] > 0


@pytest.mark.slow
def test_sampling_is_measured_on_a_tiny_model_from_start_to_claim() -> None:
    plan = sample_vs_generate.Plan("tiny", n_prompts=1, max_tokens=3, wanted=0.0, n_draws=200)
    (claim,), notes = sample_vs_generate.measure(plan, device="cpu", dtype="float32", rounds=1)
    assert claim.unit == "tokens/s"
    assert claim.ratio == pytest.approx(claim.ours / claim.peer)
    assert claim.holds
    assert "chi-squared of 200 draws" in notes[0]


@pytest.mark.slow
def test_a_side_that_fails_says_why() -> None:
    with _harness.Side("benchmarks._sample_sides", core=None) as side, pytest.raises(RuntimeError, match="KeyError"):
        side.ask(do="nothing that it can do")
