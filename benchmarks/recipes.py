"""Every recipe from one demo project: the gold, KL, win rate and length it leads to, and how long it takes.

    python benchmarks/recipes.py [--recipe NAME …] [--rounds N] [--seed 0] [--folder DIR] [--json]

The demo project is seeded once in DIR (default var/bench-cache/recipes) and its reward model made; then each recipe
runs by `manage.py run_recipe NAME --project letters --json` in a copy of its own, so that none learns from another's
labels (a tandem recipe runs in its online recipe's copy, GKD in that of its teacher, iterative DPO). What is done is
kept in DIR/results.json: a table that was interrupted goes on. Prints the table of docs/experiments.md. The exit status
is 1 where a recipe fails or takes more than six minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prefloop.recipes.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]

FOLDER = ROOT / "var" / "bench-cache" / "recipes"
LIMIT = 360  # seconds, on two cores
# Recipes that learn from what another one left.
AFTER = {"tandem-ipo": "online-ipo", "tandem-bo2": "online-bo2", "gkd": "iterative-dpo"}
NO_POLICY = {
    "reward-model": "makes a reward model, no policy",
    "best-of-n": "trains nothing: gold is of the best answers",
}


def manage(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PREFLOOP_VAR": str(folder), "DATABASE_URL": ""}
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def seeded(folder: Path) -> Path:
    """The demo project with its reward model, made where it is missing. Raises SystemExit where that fails."""
    seed = folder / "seed"
    if not (folder / "seeded").exists():
        shutil.rmtree(seed, ignore_errors=True)
        seed.mkdir(parents=True)
        for words in (
            ("migrate",),
            ("seed_letters",),
            ("run_recipe", "reward-model", "--project", "letters", "--json"),
        ):
            done = manage(seed, *words)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)}: {done.stderr[-2000:]}")
        (folder / "seeded").touch()
    manage(seed, "migrate")  # it may have been seeded by an older version
    return seed


def run(folder: Path, name: str, *, rounds: int | None, seed: int) -> dict[str, Any]:
    """Run a recipe in a copy; returns its rounds, or the error that it ended with."""
    home = folder / "runs" / name
    shutil.rmtree(home, ignore_errors=True)
    before = AFTER.get(name)
    source = folder / "runs" / before if before else seeded(folder)
    if before and not source.exists():
        run(folder, before, rounds=rounds, seed=seed)
    shutil.copytree(source, home, symlinks=True)
    words = ["run_recipe", name, "--project", "letters", "--json", "--seed", str(seed)]
    words += ["--rounds", str(rounds)] if rounds is not None else []
    if name == "gkd":
        words += ["--set", f"objective.reference=checkpoint:{_last_checkpoint(folder, before or '')}"]
    began = time.monotonic()
    done = manage(home, *words)
    found: dict[str, Any] = {"seconds": time.monotonic() - began}
    if done.returncode:
        return found | {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed"}
    return found | {"rounds": json.loads(done.stdout)["rounds"]}


def _last_checkpoint(folder: Path, name: str) -> str:
    results = json.loads((folder / "results.json").read_text("utf-8"))
    return str(results[name]["rounds"][-1]["checkpoint"])


def row(name: str, found: dict[str, Any]) -> str:
    if "error" in found:
        return f"| `{name}` | failed: {found['error'][:120]} | | | | | {found['seconds']:.0f} |"
    first, last = found["rounds"][0], found["rounds"][-1]
    gold = " → ".join(_number(one.get("gold_mean"), 2) for one in found["rounds"])
    win = last.get("win_rate_ci95")
    interval = f"[{win[0]:.2f}, {win[1]:.2f}]" if win else "–"
    length = f"{_number(first.get('mean_length'), 0)} → {_number(last.get('mean_length'), 0)}"
    note = NO_POLICY.get(name, "")
    if not note and not (last.get("gold_mean") or 0) > (first.get("gold_mean") or 0):
        note = "no better than it began"
    cells = [f"`{name}`", gold, _number(last.get("kl"), 2), interval, length, note, f"{found['seconds']:.0f}"]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", choices=sorted(CATALOGUE), help="only this one (may be repeated)")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--again", action="store_true", help="run those too that are done")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = options.recipe or list(CATALOGUE)
    names = sorted(names, key=lambda name: (name in AFTER, list(CATALOGUE).index(name)))
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "results.json"
    results: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    seeded(options.folder)
    for name in names:
        if name in results and "error" not in results[name] and not options.again:
            continue
        results[name] = run(options.folder, name, rounds=options.rounds, seed=options.seed)
        kept.write_text(json.dumps(results, indent=1), "utf-8")
        sys.stderr.write(row(name, results[name]) + "\n")
    if options.json:
        print(json.dumps({name: results[name] for name in names}, indent=1))
    else:
        print("| recipe | gold by round | KL, nats | win rate's 95 % interval | length | | s |")
        print("|---|---|---|---|---|---|---|")
        for name in names:
            print(row(name, results[name]))
    return int(any("error" in results[name] or results[name]["seconds"] > LIMIT for name in names))


if __name__ == "__main__":
    sys.exit(main())
