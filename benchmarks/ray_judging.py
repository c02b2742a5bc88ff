"""Two engines of one judge on a Ray cluster of two nodes, of which one is killed: verdicts, each once, and their speed.

    python benchmarks/ray_judging.py [--pairs 20000] [--alone 1024] [--engine vllm] [--json]

Needs `pip install '.[ray]'` and vLLM (`make vllm`; `--engine transformers` does without). A policy is trained on a few
letters in a minute; it is no good judge, and need not be one. Both nodes are on this machine, each with an engine on
one core. Measured: one engine alone on `--alone` pairs, then two on all pairs, of which one is killed with its node
when half is judged. Wanted: every verdict once and, where the machine has four free cores (two engines, the cluster
and the worker), 1.7 times one engine's verdicts a second before the kill; on fewer cores the share of their time for
which engines had questions is printed instead, and wanted to be 0.9.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SPEEDUP, BUSY, CORES = 1.7, 0.9, 4
TEMPLATE = (
    "[system]\nWhich letter is better?\n[user]\n{{criterion}}\n{{prompt}}\n{{first_shown}}\n{{second_shown}}\nBetter:"
)
ROOM = 1024  # tokens: two letters and eight fences are up to 554
CHUNK = 2_000
SECONDS = 3 * 3600.0


def train_policy(directory: Path, size: str) -> Path:
    """Train a policy of letters that may read long prompts, so that it can be asked to judge."""
    from prefloop.policy.loading import load_policy, save_model
    from prefloop.worlds.letters.sft import train_sft

    train_sft(directory / "letters", size=size, n_letters=1200, threads=1)  # type: ignore[arg-type]
    policy = load_policy(directory / "letters")
    policy.model.config.max_position_embeddings = policy.tokenizer.model_max_length = ROOM
    save_model(policy.model, policy.tokenizer, directory / "judge")
    return directory / "judge"


def make_pairs(n: int) -> tuple[Any, list[int]]:
    """Make a project of n pairs of letters, and return it with their ids."""
    from django.db import transaction

    from apps.core.bulk import rows_insert
    from apps.projects.services import project_create
    from apps.prompts.models import Prompt, PromptSet
    from apps.samples.models import Comparison, Completion
    from prefloop.worlds.letters.corpus import answers
    from prefloop.worlds.letters.world import LettersWorld

    project = project_create(name="Letters", slug="letters", owner=None)
    prompts = PromptSet.objects.create(project=project, name="letters")
    world = LettersWorld(0).prompts("train")
    ids: list[int] = []
    for start in range(0, n, CHUNK):
        numbers = range(start, min(start + CHUNK, n))
        pairs = [answers(world[number % len(world)], 2, seed=number) for number in numbers]
        with transaction.atomic():
            asked = rows_insert(
                Prompt,
                ("project_id", "prompt_set_id", "external_id", "text"),
                [(project.pk, prompts.pk, f"p{number}", world[number % len(world)].text) for number in numbers],
            )
            letters = rows_insert(
                Completion,
                ("project_id", "prompt_id", "index", "text"),
                [
                    (project.pk, key, k, text)
                    for key, pair in zip(asked, pairs, strict=True)
                    for k, text in enumerate(pair)
                ],
            )
            ids += rows_insert(
                Comparison,
                ("project_id", "prompt_id", "first_id", "second_id"),
                [(project.pk, key, letters[2 * at], letters[2 * at + 1]) for at, key in enumerate(asked)],
            )
    return project, ids


@contextmanager
def worker(address: str, log: Path, *, engines: int) -> Iterator[None]:
    """A `gpu` worker whose bulk work goes to so many engines."""
    env = {**os.environ, "PREFLOOP_EXECUTOR": "ray", "PREFLOOP_RAY_ADDRESS": address, "PREFLOOP_CARDS": "0"}
    env |= {"PREFLOOP_RAY_ENGINES": str(engines), "PREFLOOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-u", "manage.py", "worker", "--queue", "gpu", "--slots", "1"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def judged(
    project: Any, ids: list[int], *, name: str, checkpoint: Any, engine: str, look: Callable[[int], None]
) -> tuple[Any, dict[str, Any]]:
    """Have the pairs judged, and return the judge with what its jobs tell; `look` gets the number of verdicts."""
    from apps.jobs.models import Job, JobEvent, JobState
    from apps.judging.services import judge_create, judging_run_create
    from apps.labels.models import Verdict

    judge = judge_create(
        project=project,
        name=name,
        kind="policy",
        mode="logprob",
        order_policy="random",  # one question a pair
        criterion="Kind and correct.",
        template=TEMPLATE,
        checkpoint=checkpoint,
        options={"engine": engine},
    )
    run = judging_run_create(project=project, judge=judge, comparison_ids=ids)
    until = time.monotonic() + SECONDS
    jobs = Job.objects.filter(group=run.group)
    while (open_jobs := jobs.exclude(state=JobState.SUCCEEDED)).exists():
        failed = open_jobs.filter(state__in=[JobState.FAILED, JobState.CANCELLED]).first()
        if failed is not None or time.monotonic() > until:
            raise SystemExit(f"the run did not end: {failed.error if failed is not None else 'it takes too long'}")
        look(Verdict.objects.filter(judge=judge).count())
        time.sleep(1.0)
    engines = [one for event in JobEvent.objects.filter(job__in=jobs, kind="engines") for one in event.data["engines"]]
    attempts = list(jobs.values_list("attempt", flat=True))
    return judge, {"engines": engines, "attempts": attempts}


def rate(engines: list[dict[str, Any]], n: int) -> float:
    """Verdicts a second, from the first question of any engine to the last answer."""
    return n / (max(one["ended"] for one in engines) - min(one["began"] for one in engines))


def measure(n: int, n_alone: int, engine: str, directory: Path) -> dict[str, Any]:
    from django.db.models import Count

    from apps.labels.models import Verdict
    from apps.policies.services import checkpoint_import
    from prefloop.model_sources import Directory
    from tests.faults.processes import processes_of
    from tests.faults.ray_nodes import ray_nodes

    policy = train_policy(directory, "full" if engine == "vllm" else "tiny")  # vLLM has no CPU kernel for the tiny one
    project, ids = make_pairs(n)
    checkpoint = checkpoint_import(project=project, name="judge", role="policy", source=Directory(policy))
    seen: list[tuple[float, int]] = []
    lost: dict[str, Any] = {}
    with ray_nodes(cores=2) as nodes:
        with worker(nodes.address, directory / "alone.log", engines=1):
            _, alone = judged(
                project, ids[:n_alone], name="alone", checkpoint=checkpoint, engine=engine, look=lambda _: None
            )
        nodes.add()

        def look(done: int) -> None:
            seen.append((time.time(), done))
            if done >= n // 2 and not lost:
                nodes.lose_newest()
                lost.update(verdicts=done, at=time.time())
                print(f"node lost after {done:,} verdicts", file=sys.stderr)

        with worker(nodes.address, directory / "two.log", engines=2):
            judge, two = judged(project, ids, name="two", checkpoint=checkpoint, engine=engine, look=look)
        until = time.monotonic() + 20
        while (running := processes_of(directory / "store")) and time.monotonic() < until:  # servers that nobody needs
            time.sleep(0.5)
    verdicts = Verdict.objects.filter(judge=judge)
    several = verdicts.values("comparison", "order").annotate(n=Count("pk")).filter(n__gt=1).count()
    # two engines together: from the first question of the second to the kill
    _, second, *_ = [*sorted(one["began"] for one in two["engines"]), float("inf"), float("inf")]
    before = [(at, done) for at, done in seen if second <= at <= lost["at"]]
    if len(before) < 2:
        raise SystemExit("the second engine had not begun when its node was killed: more --pairs are needed")
    together = (before[-1][1] - before[0][1]) / (before[-1][0] - before[0][0])
    span = sum(one["ended"] - one["began"] for one in two["engines"])
    return {
        "pairs": n,
        "pairs_with_a_verdict": verdicts.values("comparison").distinct().count(),
        "said_twice": several,
        "states": dict(verdicts.values_list("state").annotate(n=Count("pk"))),
        "attempts": two["attempts"],
        "lost_after": lost["verdicts"],
        "seconds_together": before[-1][0] - before[0][0],
        "one_engine_per_second": rate(alone["engines"], n_alone),
        "two_engines_per_second": together,
        "share_of_time_with_questions": sum(one["busy_seconds"] for one in two["engines"]) / span,
        "engines": two["engines"],
        "servers_left": len(running),
        "cores": os.cpu_count(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--alone", type=int, default=1_024, help="pairs that one engine judges alone")
    parser.add_argument("--engine", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the nodes end too
    with tempfile.TemporaryDirectory(prefix="ray-judging-") as name:
        directory = Path(name)
        os.environ |= {
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "PREFLOOP_VAR": name,
            "PREFLOOP_EXECUTOR": "ray",
            "PREFLOOP_BULK_FROM": str(min(options.alone, options.pairs)),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        found = measure(options.pairs, options.alone, options.engine, directory)
    ratio, share = (
        found["two_engines_per_second"] / found["one_engine_per_second"],
        found["share_of_time_with_questions"],
    )
    once = found["pairs_with_a_verdict"] == found["pairs"] and not found["said_twice"] and not found["servers_left"]
    enough = found["cores"] >= CORES
    if options.json:
        print(json.dumps({**found, "speedup": ratio}))
    else:
        print(
            f"{found['pairs_with_a_verdict']:,} of {found['pairs']:,} pairs have a verdict, {found['said_twice']} two"
        )
        print(f"a node was lost after {found['lost_after']:,}; attempts at the jobs: {found['attempts']}")
        print(
            f"one engine: {found['one_engine_per_second']:.1f} verdicts/s; two: {found['two_engines_per_second']:.1f}"
        )
        print(f"two engines are {ratio:.2f} times one (wanted {SPEEDUP} on {CORES} cores; here are {found['cores']})")
        print(f"engines had questions for {share:.1%} of their time (wanted {BUSY:.0%})")
        print(f"states: {found['states']}")
    return 0 if once and (ratio >= SPEEDUP if enough else share >= BUSY) else 1


if __name__ == "__main__":
    sys.exit(main())
