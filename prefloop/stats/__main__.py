"""python -m prefloop.stats CASES.json [--json]: every published figure of a reference file next to the computed one.

python -m prefloop.stats coverage [--help]: how often each interval of the reports holds the truth, by simulation.
"""

from __future__ import annotations

import argparse
import sys

import orjson

from prefloop.stats import coverage
from prefloop.stats.reference import compute_cases, load_cases
from prefloop.types import PrefloopError


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["coverage"]:
        return _coverage(given[1:])
    parser = argparse.ArgumentParser(prog="python -m prefloop.stats", description=__doc__)
    parser.add_argument("cases", metavar="CASES.json", help="the reference file: agreement and bradley_terry cases")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(given)
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


def _coverage(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prefloop.stats coverage",
        description=coverage.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--items", type=int, nargs="+", default=[30, 100], help="comparisons of a project")
    parser.add_argument("--verdicts", type=int, nargs="+", default=[1, 2, 6], help="of a judge on a comparison")
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    cases = [(n, k) for n in args.items for k in args.verdicts]
    columns = [coverage.simulate(n_items=n, n_verdicts=k, n_projects=args.projects, seed=args.seed) for n, k in cases]
    if args.json:
        rows = [{"items": n, "verdicts": k, "coverage": one} for (n, k), one in zip(cases, columns, strict=True)]
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return 0
    print(" " * 26 + "".join(f"{f'{n} x {k}':>10}" for n, k in cases) + "   (comparisons x verdicts)")
    for name in dict.fromkeys(name for one in columns for name in one):
        print(f"{name:26}" + "".join(f"{one[name][0]:10.3f}" if name in one else f"{'-':>10}" for one in columns))
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
