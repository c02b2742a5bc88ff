"""One judge asked two ways: OAIF with the criterion "very short" and with "helpful", and how long answers become.

    python benchmarks/criteria.py [--rounds N] [--seed 0] [--folder DIR] [--json]

OAIF's own experiment (Guo et al. 2024, section 4): only the criterion in the judge's prompt differs; the judge is a
simulated endpoint that is asked by the log-probs of one token in both orders, the prompts and the seed are the same.
Each loop runs by `manage.py run_recipe oaif-dpo` in a copy of the letters demo. Prints length and gold by round. The
demo is seeded once in DIR (default var/bench-cache/recipes). The exit status is 1 where "very short" does not end
shorter.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks._judges import ask, judge_make  # noqa: E402 (from the folder above)

CRITERIA = {"helpful": "Helpful: kind and correct.", "very short": "very short"}


def part(request: dict[str, str]) -> dict[str, int]:
    """Make the judge in the demo project of PREFLOOP_VAR."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    from apps.projects.models import Project
    from prefloop.demos import LETTERS

    return {"judge": judge_make(Project.objects.get(slug=LETTERS.world), **request).pk}


def run(folder: Path, name: str, *, rounds: int | None, seed: int) -> list[dict[str, Any]]:
    """Run the loop under one criterion in a copy of the demo; returns its rounds. Raises SystemExit where it fails."""
    from benchmarks.recipes import manage, seeded

    home = folder / "criterion"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(seeded(folder), home, symlinks=True)
    judge = name.replace(" ", "-")
    ask(__file__, home, name=judge, criterion=CRITERIA[name])
    words = ["run_recipe", "oaif-dpo", "--project", "letters", "--json", "--seed", str(seed)]
    words += ["--set", f"label.judge={judge}", *(["--rounds", str(rounds)] if rounds is not None else [])]
    done = manage(home, *words)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return list(json.loads(done.stdout)["rounds"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(part(json.loads(options.part))))
        return 0
    from benchmarks.recipes import FOLDER

    folder = options.folder or FOLDER
    found = {name: run(folder, name, rounds=options.rounds, seed=options.seed) for name in CRITERIA}
    shorter = found["very short"][-1]["mean_length"] < found["helpful"][-1]["mean_length"]
    if options.json:
        print(json.dumps(found, indent=1))
        return int(not shorter)
    print("| criterion | length by round, characters | gold by round | KL, nats |")
    print("|---|---|---|---|")
    for name, rounds in found.items():
        length = " → ".join(f"{one['mean_length']:.0f}" for one in rounds)
        gold = " → ".join(f"{one['gold_mean']:.2f}" for one in rounds)
        print(f"| {name} | {length} | {gold} | {rounds[-1]['kl']:.2f} |")
    print(f"very short ends shorter than helpful: {'yes' if shorter else 'NO'}")
    return int(not shorter)


if __name__ == "__main__":
    sys.exit(main())
