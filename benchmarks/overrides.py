"""Do overrides matter, and does the review gate ask better than chance? A judge made wrong on purpose, five seeds.

    python benchmarks/overrides.py [--seeds 5] [--share 0.05] [--length-bias 3] [--folder DIR] [--json]

In a copy of the letters demo a simulated judge that likes length (`--length-bias`, utility per 100 characters: sure of
itself and wrong) labels two pairs of every training prompt that no other judge has seen. DPO then learns from its
labels: as they are, and with a share of them put right by people who know the truth, chosen by the review gate
(`uncertain`) or at random (`sample`). Prints the truth's mean (gold) after each, with t intervals over the seeds, the
difference between the two choices seed by seed, and how many of the labels that people saw were wrong. The demo is
seeded once in DIR (default var/bench-cache/recipes).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks._judges import ask, judge_make  # noqa: E402 (from the folder above)

ARMS = ("none", "sample", "uncertain")
JUDGE = "long-winded"


def part(request: dict[str, Any]) -> dict[str, Any]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    return {"judge": judge, "train": train}[request.pop("do")](**request)


def judge(length_bias: float, noise: float) -> dict[str, Any]:
    """Let the wrong judge label every training pair of the demo."""
    from apps.judging.services import judging_run_create
    from apps.projects.models import Project
    from apps.samples.models import Completion
    from apps.samples.services import comparisons_create
    from prefloop.demos import LETTERS
    from workers.foreground import run_group

    project = Project.objects.get(slug=LETTERS.world)
    made = judge_make(project, JUDGE, LETTERS.second.criterion, {"length_bias": length_bias, "noise": noise})
    # pairs of their own, which no other judge has an opinion on: the gate has only this judge to go by
    by_prompt: dict[int, list[Any]] = {}
    first = project.sampling_runs.order_by("id").first()
    rows = Completion.objects.filter(project=project, prompt__split="train", run=first)
    for row in rows.select_related("prompt").order_by("prompt_id", "index", "id"):
        by_prompt.setdefault(row.prompt_id, []).append(row)
    pairs = [
        (four[at], four[at + 2])
        for four in by_prompt.values()
        for at in range(2)
        if len(four) >= 4 and four[at].text != four[at + 2].text
    ]
    ids = [row.pk for row in comparisons_create(project=project, pairs=pairs, origin="study")]
    run = judging_run_create(project=project, judge=made, comparison_ids=ids, seed=0)
    if run.group is not None:
        run_group(run.group, quiet=True)
    wrong = [pk for pk, (said, true) in _labels(project, made, ids).items() if said != true]
    return {"n": len(ids), "n_wrong": len(wrong)}


def train(mode: str, budget: int, seed: int) -> dict[str, Any]:
    """Train DPO on the wrong judge's labels; where the gate asks, answer it with the truth."""
    from apps.accounts.models import User
    from apps.jobs.clock import database_now
    from apps.projects.models import Project
    from apps.rankings.services.decide import override_create
    from apps.samples.models import Comparison
    from apps.training.lineage.selectors import loop_rows
    from apps.training.loops.starting import loop_start
    from apps.training.models import ACTIVE
    from prefloop.demos import LETTERS
    from workers.foreground import run_until

    project = Project.objects.get(slug=LETTERS.world)
    user, _ = User.objects.get_or_create(username="someone-who-knows")
    settings: dict[str, Any] = {"label.judge": JUDGE, "review.mode": mode}
    if mode != "none":
        settings["review.budget"] = str(budget)
    loop = loop_start(project=project, recipe="dpo", settings=settings, seed=seed)
    found = {"n_seen": 0, "n_wrong": 0}

    decided: set[int] = set()

    def asked() -> list[int]:
        ids = loop.rounds.filter(index=1).values_list("review_comparison_ids", flat=True).first() or []
        return [pk for pk in ids if pk not in decided]

    def stopped() -> bool:
        loop.refresh_from_db()
        return loop.state not in ACTIVE or (loop.state == "waiting" and bool(asked()))

    run_until(stopped, quiet=True)
    while loop.state == "waiting":
        ids = asked()
        decided.update(ids)
        labels = _labels(project, loop.judge, ids)
        for comparison in Comparison.objects.filter(pk__in=ids):
            said, true = labels[comparison.pk]
            found["n_seen"] += 1
            found["n_wrong"] += said != true
            kind = {"kind": "agree"} if said == true else {"kind": "override", "choice": true}
            override_create(comparison=comparison, judge=loop.judge, user=user, now=database_now(), **kind)
        run_until(stopped, quiet=True)
    if loop.state != "done":
        raise SystemExit(f"loop {loop.state}: {loop.failure_class} {loop.error}")
    rows = loop_rows(loop)
    last = rows[-1]
    return found | {key: last[key] for key in ("gold_mean", "kl", "mean_length", "n_overrides")}


def _labels(project: Any, judge: Any, ids: list[int]) -> dict[int, tuple[str, str]]:
    """What the judge says of each pair and what is true: first, second or tie."""
    from apps.labels.selectors import judge_labels
    from apps.samples.models import Comparison
    from prefloop.worlds.letters.utility import utility

    said = judge_labels(comparison_ids=ids, judge=judge)
    out = {}
    for row in Comparison.objects.filter(pk__in=ids).select_related("prompt", "first", "second"):
        gap = utility(row.prompt.text, row.first.text) - utility(row.prompt.text, row.second.text)
        true = "tie" if gap == 0 else ("first" if gap > 0 else "second")
        label = said.get(row.pk)
        out[row.pk] = ((label.outcome if label is not None else None) or "none", true)
    return out


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % t interval."""
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--length-bias", type=float, default=3.0)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(part(json.loads(options.part))))
        return 0
    from benchmarks.recipes import FOLDER, manage, seeded

    folder = options.folder or FOLDER
    seeded(folder)
    judged = folder / f"judged-{options.length_bias:g}-{options.noise:g}"
    said = judged.with_suffix(".json")
    if not said.exists():
        shutil.rmtree(judged, ignore_errors=True)
        shutil.copytree(folder / "seed", judged, symlinks=True)
        said.write_text(
            json.dumps(ask(__file__, judged, do="judge", length_bias=options.length_bias, noise=options.noise))
        )
    manage(judged, "migrate")
    counts = json.loads(said.read_text())
    budget = round(options.share * counts["n"])
    found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in ARMS}
    for seed in range(options.seeds):
        for mode in ARMS:
            home = folder / "override-arm"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(judged, home, symlinks=True)
            found[mode].append(ask(__file__, home, do="train", mode=mode, budget=budget, seed=seed))
            sys.stderr.write(f"{mode} seed {seed}: {found[mode][-1]}\n")
    if options.json:
        print(json.dumps({"judge": counts, "budget": budget, "arms": found}, indent=1))
        return 0
    print(f"{counts['n']} pairs, {counts['n_wrong']} of them labelled wrongly; people see {budget}")
    print("| asked | gold, 95 % interval | labels put right, mean | characters |")
    print("|---|---|---|---|")
    for mode, runs in found.items():
        mean, low, high = interval([one["gold_mean"] for one in runs])
        right, length = (statistics.fmean(one[key] for one in runs) for key in ("n_wrong", "mean_length"))
        seen = 0 if mode == "none" else budget
        print(f"| {mode} | {mean:.3f} [{low:.3f}, {high:.3f}] | {right:.1f} of {seen} | {length:.0f} |")
    gaps = [a["gold_mean"] - b["gold_mean"] for a, b in zip(found["uncertain"], found["sample"], strict=True)]
    mean, low, high = interval(gaps)
    print(f"uncertain - sample, seed by seed: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
