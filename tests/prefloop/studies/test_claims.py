"""The statistics of studies, on constructed runs in which a finding holds, does not hold, and can't be decided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prefloop.studies.claims import Above, Falls, Near, PeaksLater, Rises, Same, Turns, overall
from prefloop.studies.results import NotMeasured, Path, Point, Results

TITLES = {"a": "A", "b": "B"}
STEPS = 5


def path(arm, seed, curve, *, setting="", n_prompts=64, noise=0.05, reach=5.0, measure="win", jitter=0.0):
    """A run whose measure is curve(KL) at each prompt, with noise of the prompt, of the seed and of each value."""
    rng = np.random.default_rng([seed, len(arm), ord(arm[0]), len(setting)])
    of_seed = rng.normal(0, jitter)
    of_prompt = np.random.default_rng(99).normal(0, noise, n_prompts)
    points = []
    for step in range(STEPS + 1):
        kl = reach * step / STEPS
        values = curve(kl) + of_prompt + rng.normal(0, noise, n_prompts) + (of_seed if step else 0.0)
        points.append(Point(step, kl, {measure: values.tolist()}))
    return Path(arm, setting, seed, tuple(points))


def two(curve_a, curve_b, *, seeds=5, **how):
    return Results(
        tuple(
            one for seed in range(seeds) for one in (path("a", seed, curve_a, **how), path("b", seed, curve_b, **how))
        )
    )


def decide(claim, results, measure="win"):
    return claim.decide(results, measure=measure, titles=TITLES)


def arch(height, peak=3.0):
    return lambda kl: 0.5 + height * (1 - ((kl - peak) / peak) ** 2) if kl else 0.5


def test_an_arm_that_is_higher_at_equal_kl_is_found_above():
    found = decide(Above("a", "b"), two(arch(0.3), arch(0.2)))
    assert found.verdict == "held"
    assert found.claim == "A is above B at equal KL"
    # mean of .1 (1 - ((kl - 3)/3)²) over kl = 5/6 … 5
    wanted = np.mean([0.1 * (1 - ((kl - 3) / 3) ** 2) for kl in np.linspace(5 / 6, 5, 6)])
    assert found.estimate == pytest.approx(wanted, abs=0.02)
    assert found.interval.low <= wanted <= found.interval.high
    assert [round(level.kl, 3) for level in found.levels] == [round(5 * k / 6, 3) for k in range(1, 7)]


def test_arms_are_compared_at_equal_kl_and_not_at_equal_steps():
    """B has gone twice as far at every step: by steps it would win, at equal KL it loses."""
    line = [path("a", seed, lambda kl: 0.5 + 0.06 * kl, reach=4.0, noise=0.01) for seed in range(5)]
    far = [path("b", seed, lambda kl: 0.5 + 0.04 * kl, reach=8.0, noise=0.01) for seed in range(5)]
    found = decide(Above("a", "b"), Results((*line, *far)))
    assert far[0].table("win")[-1].mean() > line[0].table("win")[-1].mean()
    assert found.verdict == "held"
    assert max(level.kl for level in found.levels) == 4.0


def test_arms_that_are_equal_are_not_found_above_and_a_difference_that_counts_is_excluded():
    found = decide(Above("a", "b", least=0.05), two(arch(0.2), arch(0.2)))
    assert found.verdict == "did not hold"
    assert found.interval.high < 0.05


def test_an_arm_that_is_lower_does_not_hold():
    assert decide(Above("a", "b"), two(arch(0.1), arch(0.3))).verdict == "did not hold"


def test_seeds_that_contradict_each_other_decide_nothing():
    found = decide(Above("a", "b"), two(arch(0.25), arch(0.2), seeds=2, jitter=0.1))
    assert found.verdict == "undecided"
    assert found.why == "the interval allows both"
    assert found.interval.low < 0 < found.interval.high


def test_one_seed_decides_nothing_however_large_the_difference():
    found = decide(Above("a", "b"), two(arch(0.4), arch(0.0), seeds=1))
    assert (found.verdict, found.interval) == ("undecided", None)
    assert found.estimate > 0.2


def test_without_runs_nothing_is_decided():
    found = decide(Above("a", "b"), Results(()))
    assert (found.verdict, found.estimate) == ("undecided", None)


@pytest.mark.parametrize(
    ("height", "verdict"), [(0.20, "held"), (0.30, "did not hold")], ids=["equal arms", "arms that differ"]
)
def test_near_holds_only_where_the_whole_interval_lies_within_the_margin(height, verdict):
    assert decide(Near("a", "b", within=0.03), two(arch(height), arch(0.2))).verdict == verdict


def test_near_is_undecided_where_the_interval_is_wider_than_the_margin():
    assert decide(Near("a", "b", within=0.03), two(arch(0.2), arch(0.2), seeds=2, jitter=0.1)).verdict == "undecided"


@pytest.mark.slow
def test_many_settings_without_a_difference_make_no_best_one():
    """Choosing the best of thirty equal settings on the same prompts would show a gain; halves of prompts do not."""
    gains = []
    for at in range(40):
        many = [
            path("a", 100 * at + seed, arch(0.2), setting=f"{'x' * k}", noise=0.2, n_prompts=16)
            for k in range(30)
            for seed in range(2)
        ]
        gains.append(Results(tuple(many)).best("a", 3.0, "win").mean() - 0.7)
    shared = np.random.default_rng(99).normal(0, 0.2, 16).mean()  # of the prompts, the same for every setting
    assert np.mean(gains) == pytest.approx(shared, abs=0.02)


def test_the_better_setting_is_found_where_there_is_one():
    mixed = [path("a", seed, arch(0.3), setting="good") for seed in range(3)]
    mixed += [path("a", seed, arch(0.1), setting="bad") for seed in range(3)]
    assert Results(tuple(mixed)).best("a", 3.0, "win").mean() == pytest.approx(0.8, abs=0.03)


def test_a_setting_that_one_seed_lacks_or_that_ends_early_is_not_read():
    rows = [path("a", seed, arch(0.1), setting="all") for seed in range(2)]
    rows += [path("a", 0, arch(0.4), setting="one seed"), path("a", 1, arch(0.4), setting="short", reach=1.0)]
    results = Results(tuple(rows))
    assert list(results.of("a")) == ["all"]
    assert results.best("a", 3.0, "win").mean() == pytest.approx(0.6, abs=0.03)
    with pytest.raises(ValueError, match="reaches"):
        results.best("a", 9.0, "win")


def test_a_path_is_read_on_the_line_between_its_points_where_it_first_gets_there():
    points = tuple(Point(k, kl, {"win": [y]}) for k, (kl, y) in enumerate([(0, 0.5), (2, 0.7), (1, 0.1), (4, 0.9)]))
    one = Path("a", "", 0, points)
    assert one.at(1.0, "win") == pytest.approx([0.6])
    assert one.at(2.5, "win") == pytest.approx([0.5])  # half way from 1 to 4
    with pytest.raises(ValueError, match="ends before"):
        one.at(5.0, "win")


def test_a_proxy_that_rises_while_gold_turns_is_found():
    up = [path("a", seed, lambda kl: kl, measure="proxy") for seed in range(5)]
    arches = [path("a", seed, arch(0.5, peak=2.5), measure="gold") for seed in range(5)]
    both = Results(
        tuple(
            Path(
                "a",
                "",
                p.seed,
                tuple(Point(x.step, x.kl, {**x.values, **y.values}) for x, y in zip(p.points, g.points, strict=True)),
            )
            for p, g in zip(up, arches, strict=True)
        )
    )
    rise, turn = decide(Rises("a", "proxy"), both), decide(Turns("a", "gold"), both)
    assert (rise.verdict, turn.verdict) == ("held", "held")
    assert rise.estimate == pytest.approx(5, abs=0.1)
    assert turn.estimate == pytest.approx(0.5 * (1 - 0.2**2), abs=0.06)  # measured at KL 2 or 3, .2 of the peak away
    assert overall([rise, turn]) == "held"


def test_a_measure_that_falls_is_found_and_one_that_stays_is_not():
    falling = Results(tuple(path("a", seed, lambda kl: -3 * kl, measure="chosen") for seed in range(5)))
    staying = Results(tuple(path("a", seed, lambda kl: 0 * kl, measure="chosen") for seed in range(5)))
    found = decide(Falls("a", "chosen"), falling)
    assert found.verdict == "held"
    assert found.estimate == pytest.approx(15, abs=0.1)
    assert decide(Falls("a", "chosen", least=1.0), staying).verdict == "did not hold"
    assert decide(Rises("a", "chosen"), falling).verdict == "did not hold"


def test_a_claim_by_a_measure_of_its_own_does_not_read_the_studys():
    wins = two(lambda kl: 0.5 + 0.05 * kl, lambda kl: 0.5 + 0.01 * kl)
    told = two(lambda kl: 0.5 + 0.01 * kl, lambda kl: 0.5 + 0.05 * kl, measure="accuracy")
    both = Results(
        tuple(
            replace(
                one,
                points=tuple(
                    replace(a, values={**a.values, **b.values}) for a, b in zip(one.points, other.points, strict=True)
                ),
            )
            for one, other in zip(wins.paths, told.paths, strict=True)
        )
    )
    assert decide(Above("a", "b"), both).verdict == "held"
    by_accuracy = Above("a", "b", by="accuracy")
    assert by_accuracy.measures == ("accuracy",)
    assert decide(by_accuracy, both).verdict == "did not hold"
    assert "in accuracy on stored pairs" in decide(by_accuracy, both).claim


def test_a_peak_that_comes_later_is_found_by_kl_and_not_by_height():
    def of(early, late, seeds=5):
        return Results(
            tuple(
                path(arm, seed, arch(height, peak=at), measure="gold", noise=0.001)
                for seed in range(seeds)
                for arm, at, height in (("a", late, 0.1), ("b", early, 0.5))
            )
        )

    assert decide(PeaksLater("a", "b"), of(1.0, 4.0)).verdict == "held"
    assert decide(PeaksLater("b", "a"), of(1.0, 4.0)).verdict == "did not hold"
    assert decide(PeaksLater("a", "b"), of(3.0, 3.0)).verdict == "did not hold"
    alone = decide(PeaksLater("a", "b"), of(1.0, 4.0, seeds=1))
    assert (alone.verdict, alone.why) == ("undecided", "one seed says nothing about the next")
    assert decide(PeaksLater("a", "b"), Results(())).verdict == "undecided"


def test_luck_makes_no_peak():
    flat = Results(tuple(path("a", seed, lambda kl: 0.5, measure="gold", noise=0.3) for seed in range(5)))
    assert decide(Turns("a", "gold", least=0.05), flat).verdict != "held"
    rising = Results(tuple(path("a", seed, lambda kl: 0.1 * kl, measure="gold") for seed in range(5)))
    assert decide(Turns("a", "gold", least=0.05), rising).verdict == "did not hold"


def law(arm, values):
    return Path(arm, "", 0, (Point(0, 0.0, {"law": [0.5, 0.5]}), Point(1, 0.1, {"law": values})))


def test_exact_policies_are_the_same_or_they_are_not():
    same = decide(Same("a", "b"), Results((law("a", [0.3, 0.7]), law("b", [0.3 + 1e-9, 0.7 - 1e-9]))))
    assert same.verdict == "held"
    assert same.estimate == pytest.approx(1e-9)
    other = decide(Same("a", "b"), Results((law("a", [0.3, 0.7]), law("b", [0.31, 0.69]))))
    assert (other.verdict, other.estimate) == ("did not hold", pytest.approx(0.01))
    assert decide(Same("a", "b"), Results(())).verdict == "undecided"


def test_a_measure_that_was_not_taken_is_said_and_not_taken_for_zero():
    with pytest.raises(NotMeasured, match="no gold was measured"):
        decide(Above("a", "b"), two(arch(0.3), arch(0.2)), measure="gold")


def test_a_finding_holds_only_with_all_its_claims():
    held = decide(Above("a", "b"), two(arch(0.3), arch(0.2)))
    failed = decide(Above("b", "a"), two(arch(0.3), arch(0.2)))
    open_ = decide(Above("a", "b"), two(arch(0.3), arch(0.2), seeds=1))
    assert overall([held, held]) == "held"
    assert overall([held, open_]) == "undecided"
    assert overall([held, open_, failed]) == "did not hold"
    assert overall([]) == "undecided"
