"""Whether the leads' page names the careless of a crew of thirty and nobody else, and what excluding them gains.

    python benchmarks/crew.py [--seeds 20] [--first-seed 100] [--json]

Twenty simulated crews (benchmarks/_crew_world.py), other than the ten (seeds 0 to 9) on which the bounds in
prefloop/stats/suspicions.py were chosen. Counted: of each kind, how many somebody is warned of; of the careful, how
many are accused wrongly; and how often the majority's label is the truth before and after the named are excluded. No
product is known that does this, so there is no peer: `wanted` are the bounds of the claims.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import numpy as np

from benchmarks._crew_world import CREW, GOOD, Crew, simulated_crew
from prefloop.stats.columns import K
from prefloop.stats.intervals import mean_interval, wilson_interval
from prefloop.stats.people import strict_majority
from prefloop.stats.suspicions import crew_with_suspicions


def measure(seeds: list[int], *, n_items: int = 1500, votes: int = 10) -> dict[str, Any]:
    """Run the rules on one crew a seed, and count."""
    named_of: Counter[str] = Counter()
    rules: Counter[tuple[str, str]] = Counter()
    gains, before_all, after_all = [], [], []
    for seed in seeds:
        crew = simulated_crew(seed, n_items=n_items, votes=votes)
        _, found = crew_with_suspicions(crew.columns)
        named = {one.person for one in found}
        kind_of = dict(zip(crew.columns.raters, crew.kinds, strict=True))
        named_of.update(kind_of[name] for name in named)
        rules.update((kind_of[one.person], one.kind) for one in found)
        before, after = label_accuracy(crew, without=set()), label_accuracy(crew, without=named)
        before_all.append(before)
        after_all.append(after)
        gains.append(after - before)
    ends = mean_interval(gains)
    return {
        "n_crews": len(seeds),
        "named": {kind: {"named": named_of[kind], "of": n * len(seeds)} for kind, n in CREW.items()},
        "rules": {f"{kind}: {rule}": n for (kind, rule), n in sorted(rules.items())},
        "before": float(np.mean(before_all)),
        "after": float(np.mean(after_all)),
        "gain": float(np.mean(gains)),
        "gain_ci95": None if ends is None else [ends.low, ends.high],
        "n_gained": sum(gain > 0 for gain in gains),
    }


def label_accuracy(crew: Crew, *, without: set[str]) -> float:
    """Give the share of all items on which the majority's label is the truth; a tie of votes is no label."""
    columns = crew.columns
    kept = ~np.isin(columns.rater, [columns.raters.index(name) for name in without])
    flat = columns.item[kept] * K + columns.outcome[kept]
    counts = np.bincount(flat, minlength=len(crew.truth) * K).reshape(len(crew.truth), K)
    return float((strict_majority(counts) == crew.truth).mean())


def claims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """State what was wanted beside what was found, in the form of every benchmark here."""
    bad = [found["named"][kind] for kind in CREW if kind not in GOOD]
    good = [found["named"][kind] for kind in GOOD]
    caught, n_bad = sum(row["named"] for row in bad), sum(row["of"] for row in bad)
    accused, n_good = sum(row["named"] for row in good), sum(row["of"] for row in good)
    low = 0.0 if found["gain_ci95"] is None else found["gain_ci95"][0]
    rows = (
        ("of the careless, the share that is named", caught / n_bad, ">= 0.90", caught / n_bad >= 0.9),
        ("of the careful, the share that is accused", accused / n_good, "<= 0.02", accused / n_good <= 0.02),
        ("labels that are the truth, gained by excluding the named", found["gain"], "> 0, interval too", low > 0),
    )
    return [
        {"claim": c, "ours": v, "peer": None, "unit": "share", "ratio": None, "wanted": w, "holds": bool(h)}
        for c, v, w, h in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many crews")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(list(range(given.first_seed, given.first_seed + given.seeds)))
    rows = claims(found)
    if given.json:
        print(json.dumps(rows))
        return
    print(f"{found['n_crews']} crews of {sum(CREW.values())}")
    for kind, row in found["named"].items():
        ends = wilson_interval(row["named"], row["of"])
        assert ends is not None
        print(f"  {kind:10} named {row['named']:4} of {row['of']:4}  [{100 * ends.low:.1f}, {100 * ends.high:.1f}] %")
    for rule, n in found["rules"].items():
        print(f"    {rule:24} {n:4}")
    low, high = found["gain_ci95"] or (float("nan"), float("nan"))
    print(
        f"  labels that are the truth: {100 * found['before']:.2f} % -> {100 * found['after']:.2f} %,"
        f" +{100 * found['gain']:.2f} [{100 * low:.2f}, {100 * high:.2f}] points, more in {found['n_gained']} crews"
    )
    for row in rows:
        print(f"  {'holds ' if row['holds'] else 'FAILS '} {row['claim']}: {row['ours']:.4f} (wanted {row['wanted']})")


if __name__ == "__main__":
    main()
