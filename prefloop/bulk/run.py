"""Have the engines of a Ray cluster answer the questions of a directory: `python -m prefloop.bulk.run DIRECTORY`.

It runs as a Ray Job. Ray Data holds the engines, one in each of its actors, where the cluster has room for them, and
gives them the pieces; an engine writes what it answered itself (`prefloop/bulk/work.py`), so only the pieces' numbers
pass through Ray. Where a node is lost, Ray starts its engine elsewhere and gives out again what that had in its hands.
When this program ends, its engines do.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefloop.bulk.actor import Engine
from prefloop.bulk.work import ENGINES, pieces_left, read_work
from prefloop.recipes.runspec import EXIT_DONE, EXIT_OF_FAILURE, RunFailure, write_failure

# Ray kills the children of an actor with it, and not theirs: the guard of a vLLM server, which would end that.
ACTORS = {"env_vars": {"RAY_kill_child_processes_on_worker_exit": "false"}}
PIECES_AT_ONCE = 2  # at one engine: while the last questions of one are answered, those of the next keep it busy


def engine_times(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Say of each engine how many pieces it answered, from when to when, and for how many seconds it had one."""
    by_engine: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_engine[row["engine"]].append(row)
    out = []
    for name, mine in sorted(by_engine.items()):
        mine.sort(key=lambda row: row["began"])
        busy, until = 0.0, mine[0]["began"]
        for row in mine:
            busy += max(0.0, row["ended"] - max(until, row["began"]))
            until = max(until, row["ended"])
        out.append(
            {"engine": name, "pieces": len(mine), "began": mine[0]["began"], "ended": until, "busy_seconds": busy}
        )
    return out


def main(arguments: Sequence[str]) -> int:
    """Answer all pieces that are left; return an exit status of `prefloop.recipes.runspec`."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    directory = Path(arguments[0])
    work = read_work(directory)
    ray.init()  # the cluster that this job belongs to: its environment names it
    DataContext.get_current().enable_progress_bars = False
    left = pieces_left(directory)
    answered = ray.data.from_items([{"piece": number} for number in left], override_num_blocks=len(left)).map_batches(
        Engine,
        fn_constructor_args=(str(directory),),
        batch_size=1,
        compute=ActorPoolStrategy(
            # all are started at once: a start takes a minute, and those without room wait for it
            min_size=1,
            initial_size=work.engines,
            max_size=work.engines,
            enable_true_multi_threading=True,
        ),
        max_concurrency=PIECES_AT_ONCE,
        num_cpus=work.threads,
        num_gpus=work.cards,
        runtime_env=ACTORS,
    )
    rows = []
    for row in answered.iter_rows():
        if row["failure"]:
            failure = RunFailure(**json.loads(row["failure"]))
            write_failure(directory, failure)
            return EXIT_OF_FAILURE[failure.failure_class]
        rows.append(row)
        print(f"piece {row['piece']} by {row['engine']}, {row['ended'] - row['began']:.1f} s")  # noqa: T201 - its log
    (directory / ENGINES).write_text(json.dumps(engine_times(rows)), "utf-8")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
