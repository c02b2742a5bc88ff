"""Every recipe on the five outcomes against the values that theory gives it: the second road of whole methods."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

DATA = [0.4, 0.3, 0.15, 0.1, 0.05]
UNIFORM = [0.2] * 5
SKEWED = [0.05, 0.4, 0.1, 0.15, 0.3]
BEST_OF = {
    2: ((0.04, 0.26, 0.24, 0.4375, 0.0225), 0.1801553347, 0.6575, 1.2325),
    4: ((0.0034, 0.2249, 0.0876, 0.68359375, 0.00050625), 0.5918046335, 0.7800875, 1.63538125),
    8: (None, 1.0510222346, 0.8503781619, None),
}
RLHF = {
    1.0: (0.0328869620, 0.1787920625, 0.1626643014, 0.6075090182, 0.0181476558),
    0.5: (0.0062254354, 0.0920001825, 0.0507674636, 0.8497431370, 0.0012637816),
}
ROCK_PAPER_SCISSORS = [[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]


# --- best of n, and what imitates it


@pytest.mark.parametrize("n", [2, 4, 8])
def test_best_of_n_has_its_law_its_kl_and_its_win_rate(lab: Any, close: Any, t5: Any, n: int) -> None:
    found = lab("best-of-n", {"draws.n": n})
    law, kl, win_rate, reward = BEST_OF[n]
    if law is not None:
        close(found.policy, law, 1e-12)
        assert t5.expected_reward(found.policy) == pytest.approx(reward, abs=1e-12)
    assert t5.kl(found.policy) == pytest.approx(kl, abs=1e-9)
    assert t5.win_rate(found.policy) == pytest.approx(win_rate, abs=1e-9)
    close(found.data_law, found.policy)
    assert found.acceptance == pytest.approx(1 / n)


def test_rejection_sampling_fine_tuning_is_best_of_n_and_rounds_compose(lab: Any, close: Any) -> None:
    close(lab("rs-ft", {"draws.n": 4}).policy, BEST_OF[4][0])
    # two rounds of 2 from the latest policy's answers alone are one of 4
    twice = lab("rs-ft", {"draws.n": 2, "memory.kind": "none"}, rounds=2)
    close(twice.policy, BEST_OF[4][0])
    assert len(twice.path) == 2
    close(twice.path[0], BEST_OF[2][0])


def test_the_memory_mixes_the_best_of_all_rounds(lab: Any, close: Any) -> None:
    found = lab("rs-ft", {"draws.n": 2}, rounds=2)
    close(found.policy, [(a + b) / 2 for a, b in zip(BEST_OF[2][0], BEST_OF[4][0], strict=True)])


@pytest.mark.parametrize("jeffreys", [0.0, 0.5, 1.0])
def test_bond_rests_at_best_of_n_for_every_mix(lab: Any, close: Any, jeffreys: float) -> None:
    close(lab("bond", {"objective.n": 4, "objective.jeffreys": jeffreys}).policy, BEST_OF[4][0])


@pytest.mark.parametrize("n", [2, 4])
def test_forward_bond_is_best_of_n(lab: Any, close: Any, n: int) -> None:
    close(lab("bond-forward", {"objective.n": n}).policy, BEST_OF[n][0])


def test_backward_bond_as_practised_rests_elsewhere_and_says_so(lab: Any, close: Any) -> None:
    found = lab("bond-backward", {"objective.n": 4})
    close(found.policy, (0.00404, 0.21839, 0.12919, 0.64707, 0.00131), 5e-6)
    exact = torch.tensor(BEST_OF[4][0], dtype=torch.float64)
    assert float((found.policy * (found.policy / exact).log()).sum()) == pytest.approx(0.010188, abs=1e-6)
    assert "first term" in found.note


def test_iterative_bond_composes(lab: Any, close: Any) -> None:
    close(lab("iterative-bond", {"objective.n": 2}, rounds=2).policy, BEST_OF[4][0])


# --- J-BOND


@pytest.mark.parametrize(
    ("jeffreys", "gamma", "wanted"),
    [
        (1.0, 0.0, (0.0333397051, 0.2667176405, 0.2713727290, 0.3964781447, 0.0320917807)),
        (0.5, 0.0, (0.0366204499, 0.2635565954, 0.2556552240, 0.4170544522, 0.0271132784)),
        (0.5, 1.0, (0.0639955184, 0.2375791967, 0.2872361119, 0.3368290867, 0.0743600863)),
    ],
)
def test_j_bond_with_its_anchor_held_has_its_optimum(
    lab: Any, close: Any, jeffreys: float, gamma: float, wanted: tuple[float, ...]
) -> None:
    settings = {"objective.jeffreys": jeffreys, "objective.gamma": gamma}
    close(lab("j-bond", settings, rounds=1).policy, wanted, 1e-8)
    close(lab("j-bond", {**settings, "anchor.rate": 0}).policy, wanted, 1e-8)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_j_bonds_first_step_is_the_known_one(lab: Any, close: Any, gamma: float) -> None:
    found = lab("j-bond", {"objective.gamma": gamma, "anchor.rate": 0.02}, steps=1, lr=1.0)
    close(found.policy, (0.09007255, 0.21005922, 0.28684510, 0.28948397, 0.12353916), 1e-8)


@pytest.mark.parametrize(
    ("gamma", "steps", "kl", "reward"),
    [
        (0.0, 10, 0.12038, 1.15370),
        (0.25, 10, 0.093963, None),  # with the sign that the paper prints it would be .161060
        (1.0, 10, 0.05170, None),
        (0.0, 100, 0.99224, 1.87623),
        (1.0, 100, 0.36416, 1.46426),
    ],
)
def test_j_bond_drifts_as_it_should(
    lab: Any, t5: Any, gamma: float, steps: int, kl: float, reward: float | None
) -> None:
    found = lab("j-bond", {"objective.gamma": gamma, "objective.jeffreys": 0.5, "anchor.rate": 0.02}, steps=steps)
    assert t5.kl(found.policy) == pytest.approx(kl, abs=6e-6)
    if reward is not None:
        assert t5.expected_reward(found.policy) == pytest.approx(reward, abs=6e-6)


# --- rewards and pairs


@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("recipe", ["rlhf", "rlaif", "rloo"])
def test_policy_gradients_rest_at_the_rlhf_optimum(lab: Any, close: Any, t5: Any, recipe: str, beta: float) -> None:
    found = lab(recipe, {"objective.beta": beta})
    close(found.policy, RLHF[beta], 1e-8)
    value = {1.0: 1.1120938979, 0.5: 1.3882634029}[beta]
    assert t5.expected_reward(found.policy) - beta * t5.kl(found.policy) == pytest.approx(value, abs=1e-9)


def test_the_reward_model_finds_the_rewards_up_to_a_constant(lab: Any, close: Any, t5: Any) -> None:
    found = lab("reward-model", mu=SKEWED)
    close(found.scores, t5.reward - t5.reference @ t5.reward, 1e-8)
    close(found.policy, t5.reference)


@pytest.mark.parametrize("mu", [None, UNIFORM, SKEWED])
def test_dpo_has_the_rlhf_optimum_whatever_is_compared(lab: Any, close: Any, mu: Any) -> None:
    close(lab("dpo", {"objective.beta": 0.5}, mu=mu).policy, RLHF[0.5], 1e-8)


@pytest.mark.parametrize(
    ("mu", "wanted"),
    [
        (UNIFORM, (0.0712751686, 0.2132148417, 0.2615074691, 0.3787752382, 0.0752272825)),
        (None, (0.0704014276, 0.2111857030, 0.2577007579, 0.3846693113, 0.0760428003)),
    ],
)
@pytest.mark.parametrize("recipe", ["ipo", "offline-ipo"])
def test_ipos_optimum_depends_on_what_is_compared(lab: Any, close: Any, recipe: str, mu: Any, wanted: Any) -> None:
    close(lab(recipe, {"objective.tau": 0.5}, mu=mu).policy, wanted, 2e-9)


@pytest.mark.parametrize(("tau", "wanted"), [(0.1, 0.9933071491), (0.5, 0.7310585786), (1.0, 0.6224593312)])
def test_ipo_of_two_arms_and_certain_labels_stays_finite(lab: Any, tau: float, wanted: float) -> None:
    found = lab("ipo", {"objective.tau": tau}, reference=[0.5, 0.5], reward=[1.0, 0.0], labels="hard")
    assert found.policy[0].item() == pytest.approx(wanted, abs=1e-9)


def test_ipo_needs_no_order_among_outcomes(lab: Any, close: Any) -> None:
    reference, tau = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.5
    found = lab("ipo", {"objective.tau": tau}, reference=reference.tolist(), preference=ROCK_PAPER_SCISSORS)
    prefers = torch.tensor(ROCK_PAPER_SCISSORS, dtype=torch.float64)
    close(found.policy, (reference.log() + prefers @ reference / tau).softmax(0), 1e-9)


@pytest.mark.parametrize("recipe", ["online-ipo", "oaif-ipo"])
@pytest.mark.parametrize(
    ("tau", "wanted"),
    [
        (0.5, (0.0700645352, 0.2075659565, 0.2534895634, 0.3899185179, 0.0789614270)),
        (0.1, (0.0071859002, 0.0713542962, 0.0432187003, 0.8736133822, 0.0046277211)),
    ],
)
def test_online_ipo_rests_at_the_nash_point(lab: Any, close: Any, recipe: str, tau: float, wanted: Any) -> None:
    close(lab(recipe, {"objective.tau": tau}).policy, wanted, 1e-9)


def test_online_ipo_rests_where_rock_paper_scissors_balance(lab: Any, close: Any) -> None:
    found = lab("online-ipo", {"objective.tau": 0.5}, reference=[0.5, 0.3, 0.2], preference=ROCK_PAPER_SCISSORS)
    close(found.policy, (0.5046741497, 0.2469505431, 0.2483753072), 1e-9)


def test_online_dpo_rests_where_offline_dpo_does(lab: Any, close: Any) -> None:
    close(lab("oaif-dpo", {"objective.beta": 0.5}).policy, RLHF[0.5], 1e-8)


@pytest.mark.slow
def test_two_rounds_against_the_round_before_are_one_at_half_the_beta(lab: Any, close: Any) -> None:
    settings = {"objective.beta": 1, "objective.reference": "previous", "draws.n": 4}
    close(lab("iterative-dpo", settings, rounds=2).policy, RLHF[0.5], 1e-8)
    # and against the first policy they stay where one round goes
    close(lab("iterative-dpo", {**settings, "objective.reference": "initial"}, rounds=2).policy, RLHF[1.0], 1e-8)


@pytest.mark.parametrize("lambda_", [1.0, 2.0, 5.0])
def test_spin_has_its_closed_form(lab: Any, close: Any, t5: Any, lambda_: float) -> None:
    found = lab("spin", {"objective.lambda": lambda_}, data=DATA)
    data = torch.tensor(DATA, dtype=torch.float64)
    wanted = t5.reference * (data / t5.reference) ** (1 / lambda_)
    close(found.policy, wanted / wanted.sum(), 1e-9)
    if lambda_ == 1:
        close(found.policy, DATA, 1e-9)
    if lambda_ == 2:
        close(found.policy, (0.2217792964, 0.2716230559, 0.2352324667, 0.1753319287, 0.0960332524), 1e-9)


@pytest.mark.slow
def test_spin_goes_round_by_round_to_the_data_where_it_rests_at_log_two(lab: Any, close: Any) -> None:
    found = lab("spin", {"objective.lambda": 1.25, "memory.kind": "none"}, data=DATA, rounds=9)
    close(found.policy, DATA, 1e-6)
    assert found.loss == pytest.approx(math.log(2), abs=1e-9)


def test_offline_bo2_is_twice_the_law_times_the_win_rate(lab: Any, close: Any) -> None:
    close(lab("offline-bo2").policy, (0.0713020, 0.2236794, 0.2735980, 0.3737249, 0.0576957), 6e-8)
    close(lab("offline-bo2", labels="hard").policy, BEST_OF[2][0], 1e-9)  # certain labels: best of two of the law


@pytest.mark.slow
def test_rso_accepts_as_it_should_and_its_data_are_the_rlhf_optimum(lab: Any, close: Any) -> None:
    found = lab("rso", {"filter.beta": 0.5, "objective.gamma": 0.5})
    assert found.acceptance == pytest.approx(0.2942065539, abs=1e-10)
    close(found.data_law, RLHF[0.5], 1e-9)
    close(found.policy, RLHF[0.5], 1e-8)  # gamma as beta: the loss is DPO's


def test_rsos_sampler_of_64_candidates_falls_short_of_its_limit(lab: Any, t5: Any) -> None:
    found = lab("rso", {"filter.beta": 0.5, "objective.gamma": 0.5, "draws.n": 16})
    assert found.finite_law is not None
    law, error = found.finite_law
    assert float(law.sum()) == pytest.approx(1)
    # the best answer is taken without replacement: 8 of 16 can't be .85 of one outcome that has .25 of the mass
    assert law[3] < found.data_law[3] - 10 * error[3]
    assert t5.expected_reward(law) < t5.expected_reward(found.data_law)


def test_rest_conditions_on_what_is_above_the_threshold(lab: Any, close: Any) -> None:
    found = lab("rest", {"filter.thresholds": "0.7"})
    close(found.policy, (0, 4 / 9, 0, 5 / 9, 0), 1e-9)
    close(found.data_law, (0, 4 / 9, 0, 5 / 9, 0), 1e-12)
    assert found.acceptance == pytest.approx(0.45)


def test_rests_last_threshold_decides(lab: Any, close: Any) -> None:
    close(lab("rest", {"filter.thresholds": "-0.5,0.2,0.7"}).policy, (0, 4 / 9, 0, 5 / 9, 0), 1e-9)


def test_self_rewardings_pairs_are_the_best_and_the_worst_of_four(lab: Any, close: Any, t5: Any) -> None:
    found = lab("self-rewarding", {"objective.beta": 0.5})
    assert found.dropped == pytest.approx(0.0142125, abs=1e-12)
    wanted, p, r = torch.zeros(5, 5, dtype=torch.float64), t5.reference.tolist(), t5.reward.tolist()
    for draws in itertools.product(range(5), repeat=4):  # all 625
        best, worst = max(draws, key=lambda y: r[y]), min(draws, key=lambda y: r[y])
        if best != worst:
            wanted[best, worst] += math.prod(p[y] for y in draws)
    torch.testing.assert_close(found.pair_law, wanted / wanted.sum(), rtol=0, atol=1e-12)
    close(found.policy, RLHF[0.5], 1e-8)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_gkd_rests_at_its_teacher_for_every_beta(lab: Any, close: Any, beta: float) -> None:
    close(lab("gkd", {"objective.beta": beta}, teacher=DATA).policy, DATA, 1e-8)


@pytest.mark.parametrize(
    ("beta", "wanted"),
    [(0, 0.3733860445), (0.1, 0.0334603562), (0.5, 0.0943615069), (0.9, 0.0366782330), (1, 0.4219679188)],
)
def test_gkd_starts_at_its_known_divergence_which_leaps_at_the_ends(lab: Any, beta: float, wanted: float) -> None:
    start = lab(
        "gkd", {"objective.beta": beta}, reference=[0.3, 0.3, 0.4], reward=[0, 0, 0], teacher=[0.7, 0.2, 0.1], steps=0
    )
    assert start.loss == pytest.approx(wanted, abs=1e-9)


def test_sft_is_the_data(lab: Any, close: Any) -> None:
    close(lab("sft", data=DATA).policy, DATA, 1e-9)


# --- what has no optimum
