"""Align the simulated judge of letters on 50 corrections: by examples, and by reasons added to its criterion.

    python benchmarks/align_judge.py [--seeds 5] [--n 300] [--examples 50] [--json]

For each seed: a judge of the letters demo compares pairs by a known utility with its known biases; people correct it
where it is wrong, on prompts that it may be shown (`prefloop.judging.examples.may_align`); the next version and the
present one are asked about other prompts in both orders. Agreement with the truth, and the difference with its interval
(paired bootstrap over prompts). Two judges: the demo's own biased one, and the same asked by the wrong criterion
("short"), whose corrections carry the reason "kind and correct".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from prefloop.demos import LETTERS  # noqa: E402 (from the folder above)
from prefloop.judging.asking import Question  # noqa: E402
from prefloop.judging.client import ChatEndpoint  # noqa: E402
from prefloop.judging.examples import Example, may_align  # noqa: E402
from prefloop.judging.judge import LlmPairJudge  # noqa: E402
from prefloop.judging.render import load_template  # noqa: E402
from prefloop.judging.verdicts import BOTH_ORDERS, OrderedVerdict, combine  # noqa: E402
from prefloop.stats.paired import Paired, paired_shares  # noqa: E402
from prefloop.types import LabelledVerdict, Outcome  # noqa: E402
from prefloop.worlds.letters.corpus import answers, prompts  # noqa: E402
from prefloop.worlds.letters.judge_server import MODEL, running_judge_server  # noqa: E402
from prefloop.worlds.letters.utility import utility  # noqa: E402

NAME = LETTERS.second.name


@dataclass(frozen=True, slots=True)
class Pair:
    prompt: str
    first: str
    second: str
    truth: Outcome


def pairs(seed: int) -> Iterator[Pair]:
    """One pair of each prompt of the world, whose answers differ in worth."""
    for prompt in prompts("train", seed=seed):
        first, second = answers(prompt, 2, seed=seed)
        worth = utility(prompt.text, first) - utility(prompt.text, second)
        if worth:
            yield Pair(prompt.text, first, second, "first" if worth > 0 else "second")


def said_of(judge: LlmPairJudge, pair: Pair) -> list[LabelledVerdict]:
    return [judge.ask(Question(pair.prompt, (pair.first, pair.second), order)) for order in BOTH_ORDERS]


def corrections(judge: LlmPairJudge, found: Sequence[Pair], n: int, reason: str) -> list[Example]:
    """The first pairs on which the judge's label is not the truth, as people would correct it."""
    made: list[Example] = []
    for pair in found:
        verdicts = [OrderedVerdict(*one) for one in zip(BOTH_ORDERS, said_of(judge, pair), strict=True)]
        label = combine(verdicts, "both_agree")
        if label is None or label.outcome != pair.truth:
            made.append(Example(pair.prompt, pair.first, pair.second, pair.truth, reason))
        if len(made) == n:
            return made
    raise SystemExit(f"the judge was wrong on {len(made)} pairs only, not on {n}")


def hit(judge: LlmPairJudge, pair: Pair) -> float:
    return sum(one.outcome == pair.truth for one in said_of(judge, pair)) / len(BOTH_ORDERS)


def aligned(seed: int, *, criterion: str, reason: str, n: int, n_examples: int) -> Paired:
    """Align one judge on its corrections, and compare both versions on the other side."""
    rows = list(pairs(seed))
    shown = [pair for pair in rows if may_align(NAME, pair.prompt)]
    measured = [pair for pair in rows if not may_align(NAME, pair.prompt)][:n]
    template = load_template("pairwise")
    biases: dict[str, Any] = dict(LETTERS.second.biases or {})
    with (
        running_judge_server(**biases, seed=seed) as url,
        ChatEndpoint(url, MODEL, "", [url.removeprefix("http://").split("/", 1)[0]]) as endpoint,
    ):
        before = LlmPairJudge(endpoint, template, criterion)
        examples = corrections(before, shown, n_examples, reason)
        more = f"{criterion}\n- {reason}" if reason else criterion
        after = LlmPairJudge(endpoint, template, more, examples=examples)
        found = paired_shares([(pair.prompt, hit(before, pair), hit(after, pair)) for pair in measured], seed=seed)
    if found is None:
        raise SystemExit("no pairs to measure on")
    return found


ARMS = {
    "the demo's biased judge, examples": {"criterion": LETTERS.second.criterion, "reason": ""},
    "asked by the wrong criterion, examples": {"criterion": "short", "reason": ""},
    "asked by the wrong criterion, examples and reasons": {"criterion": "short", "reason": "kind and correct"},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n", type=int, default=300, help="pairs to measure on")
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for arm, how in ARMS.items():
        for seed in range(options.seeds):
            one = aligned(seed, **how, n=options.n, n_examples=options.examples)
            found.append({"judge": arm, "seed": seed, "difference": one.difference, **asdict(one)})
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    print("| judge and what it was given | seed | before | after | difference, 95 % | pairs |")
    print("|---|---|---|---|---|---|")
    for row in found:
        ci = row["difference_ci95"]
        print(
            f"| {row['judge']} | {row['seed']} | {row['before']:.3f} | {row['after']:.3f} "
            f"| {row['difference']:+.3f} [{ci['low']:+.3f}, {ci['high']:+.3f}] | {row['n']} |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
