"""The two reports over 1,000,000 verdicts of 5 judges on 200 models, 1,000 bootstraps each, against the obvious tools.

    python benchmarks/reports.py [--items 200000] [--json]

The peers can't finish a thousand resamples in an hour, so a resample's time stands against a resample's time:

- agreement: for each judge accuracy, Cohen's kappa and macro scores by scikit-learn, over items drawn with replacement,
  and Krippendorff's alpha of the judges by the krippendorff package. Ours is the whole agreement report (which has more
  figures), its time divided by its 1,000 resamples.
- leaderboard: the Bradley-Terry fit of choix (ilsr_pairwise, the fastest of its fits on this) to the drawn games. Ours
  is the whole report without Elo, which choix has not, its time divided by its 1,000 resamples.

First it checks that both give the same numbers on the data as they are: accuracy, kappa, macro F1 and alpha to 1e-9,
strengths to 1e-5 (choix stops at 1e-8 of its own criterion). Both sides run on one thread; best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import choix  # noqa: E402 (the number of threads comes first)
import krippendorff  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.metrics import accuracy_score, cohen_kappa_score, precision_recall_fscore_support  # noqa: E402

from prefloop.stats.agreement import krippendorff_alpha, rating_counts  # noqa: E402
from prefloop.stats.bradley_terry import Games, fit_bradley_terry  # noqa: E402
from prefloop.stats.columns import AgreementColumns  # noqa: E402
from prefloop.stats.games import SCORE_OF_CODE, GameColumns  # noqa: E402
from prefloop.stats.leaderboard import leaderboard_report_of_columns  # noqa: E402
from prefloop.stats.report import agreement_report_of_columns  # noqa: E402

N_JUDGES, N_MODELS, N_BOOTSTRAP, WANTED = 5, 200, 1000, 20.0
PEER_RESAMPLES = 2


def make(n_items: int, seed: int = 0) -> tuple[AgreementColumns, GameColumns]:
    """Make comparisons of two models each, a person's vote on each, and a verdict of each judge, in one order."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(0, 1, N_MODELS)
    a = rng.integers(0, N_MODELS, n_items)
    b = (a + rng.integers(1, N_MODELS, n_items)) % N_MODELS
    p = 1 / (1 + np.exp(strength[b] - strength[a]))
    truth = np.where(rng.random(n_items) < 0.1, 2, np.where(rng.random(n_items) < p, 0, 1))
    noise = lambda share, size: np.where(rng.random(size) < share, rng.integers(0, 3, size), -1)  # noqa: E731
    said = np.concatenate([_or(noise(0.2 + 0.1 * j, n_items), truth) for j in range(N_JUDGES)])
    item = np.tile(np.arange(n_items), N_JUDGES)
    models = tuple(f"model-{i:03d}" for i in range(N_MODELS))
    columns = AgreementColumns(
        gold=np.full(n_items, -1),
        length_first=rng.integers(1, 4000, n_items),
        length_second=rng.integers(1, 4000, n_items),
        raters=("person",),
        vote_item=np.arange(n_items),
        vote_rater=np.zeros(n_items, dtype=np.int64),
        vote_outcome=_or(noise(0.1, n_items), truth),
        judges=tuple(f"judge-{j}" for j in range(N_JUDGES)),
        verdict_item=item,
        verdict_judge=np.repeat(np.arange(N_JUDGES), n_items),
        verdict_swapped=rng.random(len(item)) < 0.5,
        verdict_sample=np.zeros(len(item), dtype=np.int64),
        verdict_outcome=said,
        models=models,
        model_first=a,
        model_second=b,
    )
    games = GameColumns(
        models=models,
        a=a[item],
        b=b[item],
        score=SCORE_OF_CODE[said],
        shown=1.0 - 2.0 * columns.verdict_swapped,
        item=item,
        length_difference=(columns.length_first - columns.length_second)[item].astype(np.float64),
        source=columns.verdict_judge,
    )
    return columns, games


def _or(noise: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.where(noise >= 0, noise, truth)


def timed(run) -> tuple[float, object]:
    began = time.perf_counter()
    out = run()
    return time.perf_counter() - began, out


def peer_agreement(truth: np.ndarray, said: np.ndarray, items: np.ndarray) -> dict[str, list[float]]:
    """Give what scikit-learn and krippendorff say of the drawn items; `said` is judges x items."""
    t, s = truth[items], said[:, items]
    return {
        "accuracy": [accuracy_score(t, row) for row in s],
        "kappa": [cohen_kappa_score(t, row) for row in s],
        "f1": [precision_recall_fscore_support(t, row, average="macro", zero_division=0)[2] for row in s],
        "alpha": [krippendorff.alpha(reliability_data=s, level_of_measurement="nominal", value_domain=[0, 1, 2])],
    }


def agreement(columns: AgreementColumns, repeats: int) -> dict[str, object]:
    n_items = len(columns.gold)
    truth, said = columns.vote_outcome, columns.verdict_outcome.reshape(N_JUDGES, n_items)
    run = lambda: agreement_report_of_columns(project="bench", columns=columns, n_bootstrap=N_BOOTSTRAP)  # noqa: E731
    report = run()
    peer = peer_agreement(truth, said, np.arange(n_items))
    for i, judge in enumerate(report["judges"]):
        ours = [judge["accuracy"], judge["cohen_kappa"], judge["macro_f1"]]
        assert np.allclose(ours, [peer["accuracy"][i], peer["kappa"][i], peer["f1"][i]], rtol=0, atol=1e-9)
        assert judge["kappa_ci95"][0] < judge["cohen_kappa"] < judge["kappa_ci95"][1]
    alpha = krippendorff_alpha(rating_counts(said, k=3))
    assert abs(alpha - peer["alpha"][0]) < 1e-9
    rng = np.random.default_rng(1)
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(timed(run)[0] / N_BOOTSTRAP)
        for _ in range(PEER_RESAMPLES):
            theirs.append(timed(lambda: peer_agreement(truth, said, rng.integers(0, n_items, n_items)))[0])
    return line(
        f"agreement report, {said.size:,} verdicts, a resample (scikit-learn, krippendorff)", min(ours), min(theirs)
    )


def leaderboard(games: GameColumns, repeats: int) -> dict[str, object]:
    n_items = len(games.a) // N_JUDGES
    a, b = games.a[:n_items], games.b[:n_items]
    score = games.score.reshape(N_JUDGES, n_items)
    run = lambda: leaderboard_report_of_columns(  # noqa: E731
        project="bench", source="all", columns=games, n_orders=0, n_bootstrap=N_BOOTSTRAP
    )
    decisive = score != 0.5  # choix knows no ties: what is compared is the fit to decisive games

    def drawn_games(items: np.ndarray) -> list[tuple[int, int]]:
        wins = np.concatenate([np.stack([a, b], axis=1)[items][score[j][items] == 1.0] for j in range(N_JUDGES)])
        losses = np.concatenate([np.stack([b, a], axis=1)[items][score[j][items] == 0.0] for j in range(N_JUDGES)])
        return [tuple(row) for row in np.concatenate([wins, losses]).tolist()]

    def peer(items: np.ndarray) -> np.ndarray:
        return choix.ilsr_pairwise(N_MODELS, drawn_games(items), max_iter=500)

    took, theirs_full = timed(lambda: peer(np.arange(n_items)))
    keep = decisive.reshape(-1)
    fit = fit_bradley_terry(Games.of(games.a[keep], games.b[keep], games.score[keep]), n_players=N_MODELS)
    assert np.allclose(fit.log_strength, theirs_full - theirs_full.mean(), rtol=0, atol=1e-5)
    rng = np.random.default_rng(1)
    ours, theirs = [], [took]
    for _ in range(repeats):
        ours.append(timed(run)[0] / N_BOOTSTRAP)
        theirs.append(timed(lambda: peer(rng.integers(0, n_items, n_items)))[0])
    return line(
        f"leaderboard of {N_MODELS} models, {len(games.a):,} verdicts, a resample (choix)", min(ours), min(theirs)
    )


def line(claim: str, ours: float, peer: float) -> dict[str, object]:
    ratio = peer / ours
    return {
        "claim": claim,
        "ours": ours,
        "peer": peer,
        "unit": "s/resample",
        "ratio": ratio,
        "wanted": WANTED,
        "holds": ratio >= WANTED,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--items", type=int, default=200_000, help="comparisons; each has a verdict of each of 5 judges"
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    columns, games = make(args.items)
    lines = [agreement(columns, args.repeats), leaderboard(games, args.repeats)]
    if args.json:
        print(json.dumps(lines, indent=2))
    else:
        for one in lines:
            print(
                f"{one['claim']}\n  ours {one['ours']:.6f}  peer {one['peer']:.4f} {one['unit']}"
                f"  {one['ratio']:.0f} times (wanted {one['wanted']:.0f}): {'holds' if one['holds'] else 'FAILS'}"
            )
    return 0 if all(one["holds"] for one in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
