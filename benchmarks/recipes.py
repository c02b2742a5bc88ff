"""Every recipe from one demo project: the gold, KL, win rate and length it leads to, and how long it takes.

    python benchmarks/recipes.py [--world letters] [--recipe NAME …] [--set KEY=VALUE …] [--rounds N] [--seed 0]
                                 [--folder DIR] [--json]

The world's demo project is seeded once in DIR (default: a folder of the world in var/bench-cache) and, for letters, its
reward model made; then each recipe runs by `manage.py run_recipe NAME --project WORLD --json` in a copy of its own, so
that none learns from another's labels (a tandem recipe runs in its online recipe's copy, GKD in that of its teacher,
iterative DPO). Gold is the world's truth on held-out prompts: the utility of a letter, or the share of an answer's
constraints that are met. Its gain is the mean over prompts of the last round's gold minus that of the start, with a
95 % interval over prompts. What is done is kept in DIR/results.json: a table that was interrupted goes on. Prints the
table of docs/experiments.md. The exit status is 1 where a recipe fails or takes longer than its world allows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefloop.recipes.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]

CACHE = ROOT / "var" / "bench-cache"


@dataclass(frozen=True, slots=True)
class Bench:
    """How a world's recipes run. What is run is a recipe's name, and words after it where it runs in two ways.

    `settings`: of recipes whose defaults are for other models. `before`: commands that make what a recipe learns from.
    """

    limit: int  # seconds for each recipe, on two cores
    first: tuple[str, ...] = ()  # recipes whose results the others start from
    recipes: tuple[str, ...] = tuple(CATALOGUE)
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rounds: Mapping[str, int] = field(default_factory=dict)  # else the recipe's own number


def _chat(*more: str, judge: str = "score.judge=rules", draws: bool = True) -> tuple[str, ...]:
    """Settings for SmolLM2 on a CPU: fewer and shorter answers than by default, since each takes long.

    The learning rates in `more` are for all weights of 135M parameters, the defaults for the letters' 0.75M.
    """
    drawn = ("draws.max_tokens=64",) if draws else ()
    return ("evaluation.n=2", "objective.batch=8", *([judge] if judge else []), *drawn, *more)


BENCHES = {
    "letters": Bench(limit=360, first=("reward-model",)),
    "chat": Bench(
        limit=2400,
        recipes=(
            "dpo",
            "iterative-dpo",
            "rs-ft",
            "oaif-dpo",
            "oaif-dpo by the model",
            "j-bond",
            "rloo",
            "self-rewarding",
        ),
        settings={
            "dpo": _chat(
                "objective.lr=2e-5", "filter.cut_answers=leave-out", "label.judge=rules", judge="", draws=False
            ),
            "iterative-dpo": _chat(
                "objective.lr=2e-5",
                "objective.beta=0.1",
                "objective.epochs=2",
                "prompts.n=160",
                "draws.n=8",
                "filter.cut_answers=leave-out",
            ),
            "rs-ft": _chat("objective.lr=5e-5", "prompts.n=160", "draws.n=8", "draws.temperature=0.8"),
            "oaif-dpo": _chat(
                "objective.lr=3e-5", "prompts.n=160", "draws.n=4", "pairing.kind=first-round", judge="label.judge=rules"
            ),
            "oaif-dpo by the model": _chat("objective.lr=1e-5", "prompts.n=80", judge="label.judge=smollm2-itself"),
            "j-bond": _chat("objective.lr=1e-5", "prompts.n=160"),
            "rloo": _chat("objective.lr=3e-5", "prompts.n=160"),
            # it can write no prompts and was taught no scores: what it does by itself
            "self-rewarding": _chat(
                "objective.lr=1e-5", "prompts.generator=none", "prompts.n=80", "teach.eft=0", judge=""
            ),
        },
        # a stored set to learn from: four answers to each training prompt, two of their pairs, labelled by rules
        before={
            "dpo": (
                "sample --project chat --checkpoint smollm2-135m --prompts chat-train -n 4 --max-tokens 64 "
                "--pairs random:2",
                "judge --project chat --judge rules",
            )
        },
        rounds={name: 2 for name in ("iterative-dpo", "rs-ft", "oaif-dpo", "j-bond", "rloo", "self-rewarding")}
        | {"oaif-dpo by the model": 1},
    ),
}
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


def seeded(folder: Path, world: str) -> Path:
    """The demo project with what its recipes need, made where it is missing. Raises SystemExit where that fails."""
    seed = folder / "seed"
    if not (folder / "seeded").exists():
        shutil.rmtree(seed, ignore_errors=True)
        seed.mkdir(parents=True)
        for words in (
            ("migrate",),
            ("seed_demo", world),
            *(("run_recipe", name, "--project", world, "--json") for name in BENCHES[world].first),
        ):
            done = manage(seed, *words)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)}: {done.stderr[-2000:]}")
        (folder / "seeded").touch()
    manage(seed, "migrate")  # it may have been seeded by an older version
    return seed


def run(folder: Path, world: str, name: str, *, rounds: int | None, seed: int, chosen: Sequence[str]) -> dict[str, Any]:
    """Run a recipe in a copy; returns its rounds, or the error that it ended with."""
    home = folder / "runs" / name
    shutil.rmtree(home, ignore_errors=True)
    before = AFTER.get(name)
    source = folder / "runs" / before if before else seeded(folder, world)
    if before and not source.exists():
        run(folder, world, before, rounds=rounds, seed=seed, chosen=chosen)
    shutil.copytree(source, home, symlinks=True)
    bench = BENCHES[world]
    words = ["run_recipe", name.split()[0], "--project", world, "--json", "--seed", str(seed)]
    for setting in chosen or bench.settings.get(name, ()):
        words += ["--set", setting]
    rounds = rounds if rounds is not None else bench.rounds.get(name)
    words += ["--rounds", str(rounds)] if rounds is not None else []
    if name == "gkd":
        words += ["--set", f"objective.reference=checkpoint:{_last_checkpoint(folder, before or '')}"]
    began = time.monotonic()
    for command in (*bench.before.get(name, ()), shlex.join(words)):
        done = manage(home, *shlex.split(command))
        if done.returncode:
            break
    # of this process's children, the largest so far: of a recipe that runs alone, or is larger than those before it
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    found: dict[str, Any] = {"seconds": time.monotonic() - began, "peak_gib": peak}
    if done.returncode:
        return found | {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed"}
    found["rounds"] = json.loads(done.stdout)["rounds"]
    if name not in NO_POLICY:
        code = f"import json; from benchmarks.recipes import gain_of; print(json.dumps(gain_of({world!r})))"
        found["gain"] = json.loads(manage(home, "shell", "--no-imports", "-c", code).stdout)
    return found


def _last_checkpoint(folder: Path, name: str) -> str:
    results = json.loads((folder / "results.json").read_text("utf-8"))
    return str(results[name]["rounds"][-1]["checkpoint"])


def gain_of(project: str) -> dict[str, float]:
    """Return the gain in gold of the newest loop's last round, in this process's database: mean, low, high."""
    from apps.samples.models import Completion, SamplingRun
    from apps.training.models import Loop
    from prefloop.engine.evaluate import mean_by_prompt
    from workers.worlds import WORLDS

    loop = Loop.objects.filter(project__slug=project).latest("pk")
    utility = WORLDS[loop.project.world].utility

    def means(checkpoint: int) -> dict[int, float]:
        run = SamplingRun.objects.filter(checkpoint=checkpoint, purpose="evaluation").latest("pk")
        worth: dict[int, list[float]] = {}
        for answer in Completion.objects.filter(run=run).select_related("prompt"):
            worth.setdefault(answer.prompt_id, []).append(utility(answer.prompt.text, answer.text))
        return {prompt: sum(values) / len(values) for prompt, values in worth.items()}

    ended = loop.rounds.filter(output__isnull=False).order_by("index").last()
    before, after = means(loop.initial_id), means(ended.output_id)
    found = mean_by_prompt([[after[prompt] - before[prompt]] for prompt in before])
    return {"mean": found.mean, "low": found.ci95.low, "high": found.ci95.high, "n_prompts": len(before)}


def row(name: str, found: dict[str, Any]) -> str:
    if "error" in found:
        return f"| `{name}` | failed: {found['error'][:120]} | | | | | | {found['seconds']:.0f} | |"
    first, last = found["rounds"][0], found["rounds"][-1]
    gold = " → ".join(_number(one.get("gold_mean"), 2) for one in found["rounds"])
    gain = found.get("gain")
    gained = f"{gain['mean']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]" if gain else "–"
    win = last.get("win_rate_ci95")
    interval = f"[{win[0]:.2f}, {win[1]:.2f}]" if win else "–"
    length = f"{_number(first.get('mean_length'), 0)} → {_number(last.get('mean_length'), 0)}"
    note = NO_POLICY.get(name, "")
    if not note and not (last.get("gold_mean") or 0) > (first.get("gold_mean") or 0):
        note = "no better than it began"
    cells = [f"`{name}`", gold, gained, _number(last.get("kl"), 2), interval, length, note]
    cells += [f"{found['seconds']:.0f}", _number(found.get("peak_gib"), 1)]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="letters", choices=BENCHES)
    every = sorted({*CATALOGUE, *(name for bench in BENCHES.values() for name in bench.recipes)})
    parser.add_argument("--recipe", action="append", choices=every, help="only this one (may be repeated)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="instead of the world's settings"
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--again", action="store_true", help="run those too that are done")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = BENCHES[options.world]
    folder = options.folder or CACHE / ("recipes" if options.world == "letters" else f"recipes-{options.world}")
    names = options.recipe or list(bench.recipes)
    names = sorted(names, key=lambda name: (name in AFTER, list(CATALOGUE).index(name.split()[0])))
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "results.json"
    results: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    seeded(folder, options.world)
    for name in names:
        if name in results and "error" not in results[name] and not options.again:
            continue
        results[name] = run(folder, options.world, name, rounds=options.rounds, seed=options.seed, chosen=options.set)
        kept.write_text(json.dumps(results, indent=1), "utf-8")
        sys.stderr.write(row(name, results[name]) + "\n")
    if options.json:
        print(json.dumps({name: results[name] for name in names}, indent=1))
    else:
        print("| recipe | gold by round | gain | KL, nats | win rate's 95 % interval | length | | s | peak GiB |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name in names:
            print(row(name, results[name]))
    return int(any("error" in results[name] or results[name]["seconds"] > bench.limit for name in names))


if __name__ == "__main__":
    sys.exit(main())
