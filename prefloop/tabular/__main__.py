"""python -m prefloop.tabular RECIPE --reference 0.1,0.2,… --reward 0,1,… [--json]: a method where its optimum is known.

The real losses, filters and pairings run on a policy of a few outcomes, by population expectation. Without --steps the
recipe is solved for its optimum; if it has none, an error says so.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import orjson
import torch
from torch import Tensor

from prefloop.config import ConfigError
from prefloop.recipes.recipe import Recipe
from prefloop.tabular.laboratory import Outcome, run
from prefloop.tabular.options import read_request
from prefloop.tabular.world import World, make_world
from prefloop.types import PrefloopError


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    torch.set_num_threads(1)
    try:
        world = make_world(
            reference=_numbers("--reference", args.reference),
            reward=None if args.reward is None else _numbers("--reward", args.reward),
            preference=None if args.preference is None else _matrix(args.preference),
            data=None if args.data is None else _numbers("--data", args.data),
            mu=None if args.mu is None else _numbers("--mu", args.mu),
            teacher=None if args.teacher is None else _numbers("--teacher", args.teacher),
        )
        request = read_request(args.recipe, _settings(args.set))
        if args.labels and request.labels and args.labels != request.labels:
            raise ConfigError(f"--labels {args.labels} and label.labels say different things")
        outcome = run(
            request,
            world,
            labels=args.labels or "",
            rounds=_count("--rounds", args.rounds, 1),
            steps=_count("--steps", args.steps, 0),
            lr=_rate(args.lr, args.steps),
            seed=args.seed,
        )
    except PrefloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    answer = report(outcome, world, request.recipe)
    if args.json:
        print(orjson.dumps(answer).decode())
    else:
        _print_table(answer, world)
    return 0


def report(outcome: Outcome, world: World, recipe: Recipe) -> dict[str, Any]:
    """Turn the outcome into plain values: first those that are always there, then those of this recipe."""
    answer: dict[str, Any] = {**_measures(outcome.policy, world), "steps": outcome.steps}
    chosen = recipe.pairing.kind not in ("as-given", "the-two")  # by a rule that makes a law of its own
    for name in ("data_law", "acceptance", "pair_law", "dropped", "scores", "loss", "se"):
        value = getattr(outcome, name)
        if value is not None and (chosen or name not in ("pair_law", "dropped")):
            answer[name] = value.tolist() if isinstance(value, Tensor) else value
    if outcome.finite_law is not None:
        answer["finite_data_law"], answer["finite_data_law_se"] = (law.tolist() for law in outcome.finite_law)
    if len(outcome.path) > 1:
        answer["rounds"] = [_measures(policy, world) for policy in outcome.path]
    if outcome.note:
        answer["note"] = outcome.note
    return answer


def _measures(policy: Tensor, world: World) -> dict[str, Any]:
    return {
        "policy": policy.tolist(),
        "kl": world.kl(policy),
        "win_rate": world.win_rate(policy),
        "reward": world.expected_reward(policy),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prefloop.tabular", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help="a recipe of the catalogue, as run_recipe has it")
    parser.add_argument("--reference", required=True, metavar="P", help="the starting policy: 0.1,0.2,…")
    parser.add_argument("--reward", metavar="R", help="a reward for each outcome: 0,1,…")
    parser.add_argument("--preference", metavar="ROWS", help="how often i beats j, 'row;row;…', for Bradley-Terry's")
    parser.add_argument("--data", metavar="P", help="the law of stored answers (sft, spin, click)")
    parser.add_argument("--mu", metavar="P", help="the law of both answers of a stored pair (the reference)")
    parser.add_argument("--teacher", metavar="P", help="the teacher's law (gkd)")
    parser.add_argument("--labels", choices=("bt", "hard"), help="labels by the preference (bt), or certain ones")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds, of a recipe that has them (1)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of plain gradient descent in place of solving")
    parser.add_argument("--lr", type=float, metavar="X", help="the size of a step (1)")
    parser.add_argument("--seed", type=int, default=0, help="of what can't be enumerated (0)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as run_recipe --set")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _joined(argv: Sequence[str]) -> list[str]:
    """Let a list of numbers begin with a minus: `--reward -1,0` would otherwise be read as another option."""
    joined: list[str] = []
    for word in argv:
        after = joined[-1] if joined else ""
        if word.startswith("-") and word[1:2].isdigit() and after.startswith("--") and "=" not in after:
            joined[-1] = f"{after}={word}"
        else:
            joined.append(word)
    return joined


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} must be numbers with commas between them, not {text!r}") from None


def _matrix(text: str) -> list[list[float]]:
    return [_numbers("--preference", row) for row in text.split(";") if row.strip()]


def _settings(items: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes key=value, not {item!r}")
        settings[key.strip()] = value
    return settings


def _count(option: str, value: int | None, least: int) -> int | None:
    if value is not None and value < least:
        raise ConfigError(f"{option} must be a whole number ≥ {least}, not {value}")
    return value


def _rate(lr: float | None, steps: int | None) -> float:
    if lr is None:
        return 1.0
    if steps is None:
        raise ConfigError("--lr is the size of a step: give --steps too")
    if not (math.isfinite(lr) and lr > 0):
        raise ConfigError(f"--lr must be a number > 0, not {lr}")
    return lr


def _print_table(answer: dict[str, Any], world: World) -> None:
    """Print the result outcome by outcome, then the numbers."""
    columns = {"reference": world.reference.tolist()}
    columns |= {} if world.reward is None else {"reward": world.reward.tolist()}
    columns |= {key: answer[key] for key in ("data_law", "scores", "policy", "se") if key in answer}
    print("  ".join(f"{name:>12}" for name in ("outcome", *columns)))
    for at in range(world.m):
        print("  ".join([f"{at:>12}", *(f"{column[at]:>12.9f}" for column in columns.values())]))
    for key in ("kl", "win_rate", "reward", "steps", "loss", "acceptance", "dropped", "note"):
        value = answer.get(key)
        if value is not None:
            print(f"{key:>12}  {value:.10g}" if isinstance(value, float) else f"{key:>12}  {value}")


if __name__ == "__main__":
    raise SystemExit(main())
