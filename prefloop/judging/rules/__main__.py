"""python -m prefloop.judging.rules ANSWERS.jsonl [--rules RULES.json] [--json]: how many rules the answers meet.

A line of ANSWERS.jsonl is an object with a `response` (or `text`), its `prompt`, and the rules of its prompt: `rules`,
or IFEval's `instruction_id_list` and `kwargs`. RULES.json has rules for all of them. Prints IFEval's strict and loose
accuracy: the share of answers that meet all their rules, the share of rules that are met, and that of each rule.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prefloop.judging.rules import BadRules, Checked, RuleSet, read_rules, rules_of
from prefloop.types import PrefloopError


def accuracy(checked: Iterable[Checked]) -> dict[str, Any]:
    """The share of answers that meet all their rules, of rules that are met, and by the name of the rule."""
    all_met, by_rule = [], defaultdict(list)
    for one in checked:
        all_met.append(one.all_met)
        for result in one.results:
            by_rule[result.name].append(result.met)
    met = [result for results in by_rule.values() for result in results]
    return {
        "answers": _share(all_met),
        "rules": _share(met),
        "by_rule": {name: _share(results) for name, results in sorted(by_rule.items())},
    }


def _share(met: list[bool]) -> float:
    return sum(met) / len(met)


def _read(path: Path, shared: RuleSet | None) -> list[tuple[RuleSet, str, str]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = row.get("response", row.get("text"))
            prompt = row.get("prompt", "")
        except (ValueError, AttributeError) as error:
            raise BadRules(f"line {number} is not a JSON object") from error
        if not isinstance(text, str) or not isinstance(prompt, str):
            raise BadRules(f"line {number} has no text under response, or a prompt that is not text")
        try:
            own = rules_of(row)
        except BadRules as error:
            raise BadRules(f"line {number}: {error}") from error
        rules = [found for found in (shared, own) if found is not None]
        if not rules:
            raise BadRules(f"line {number} has no rules, and no others are given")
        rows.append((sum(rules[1:], rules[0]), prompt, text))
    if not rows:
        raise BadRules(f"{path} holds no answers")
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prefloop.judging.rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("answers", metavar="ANSWERS.jsonl", type=Path)
    parser.add_argument("--rules", metavar="RULES.json", type=Path, help="rules that apply to all answers")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    try:
        shared = read_rules(args.rules.read_text(encoding="utf-8")) if args.rules else None
        rows = _read(args.answers, shared)
        found = {
            how: accuracy([rules.check(text, prompt=prompt, loose=how == "loose") for rules, prompt, text in rows])
            for how in ("strict", "loose")
        }
    except (PrefloopError, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"n": len(rows)} | found, indent=2))
        return 0
    print(f"{len(rows):,} answers{'':34}strict   loose")
    for name, key in (("answers that meet all their rules", "answers"), ("rules that are met", "rules")):
        print(f"{name:48}{found['strict'][key]:7.3f} {found['loose'][key]:7.3f}")
    for name, share in found["strict"]["by_rule"].items():
        print(f"  {name:46}{share:7.3f} {found['loose']['by_rule'][name]:7.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
