"""python -m prefloop.stats CASES.json [--json]: every published figure of a reference file, computed beside it."""

from __future__ import annotations

import argparse
import sys

import orjson

from prefloop.stats.reference import compute_cases, load_cases
from prefloop.types import PrefloopError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prefloop.stats", description=__doc__)
    parser.add_argument("cases", metavar="CASES.json", help="the reference file: agreement and bradley_terry cases")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    try:
        results = compute_cases(load_cases(args.cases))
    except PrefloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())
        return 0
    for part, cases in results.items():
        for name, case in cases.items():
            print(f"{part} / {name}")
            for figure, published in case["published"].items():
                print(f"  {figure:20} computed {_show(case['computed'][figure])}   published {_show(published)}")
    return 0


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_show(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"[{', '.join(_show(item) for item in value)}]"
    return "undefined" if value is None else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
