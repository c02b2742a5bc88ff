"""Whether the desk gets slower with what is done: `python benchmarks/annotate_growth.py [--sizes 1000,100000]`.

Projects of several sizes are made by bulk insert: two judges have labelled every pair, and 95 % of the pairs are voted
on and reviewed. Then `next`, a vote with the next pair, the pages of an annotator and a lead, and decisions in Review
are asked for in this process, without a network, and their seconds and statements are counted. Wanted: at the largest
size at most 1.2 times the smallest's time, and a page in 150 ms. SQLite, or with `DATABASE_URL` set whatever it names:
a new database, which stays.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1_000, 100_000)
DONE = 0.95
GROWTH, PAGE_MS = 1.2, 150.0
REPEATS = 30
CHUNK = 10_000


def make(n: int, slug: str) -> None:
    """Make a project of n pairs: all judged, 95 % of them voted on by an account and reviewed, the rest untouched.

    Every tenth label is doubtful: the two orders, the judges, or people and judges disagree.
    """
    from django.db import transaction
    from django.utils import timezone

    from apps.accounts.services import user_create
    from apps.core.bulk import rows_insert
    from apps.labels.models import Judge, Override, Preference, Verdict, Vote
    from apps.labels.review_counts import review_counts_repair
    from apps.projects.models import Role
    from apps.projects.services import member_add, project_create
    from apps.prompts.models import Prompt, PromptSet
    from apps.rankings.models import Assignment
    from apps.rankings.services.counts import counts_repair
    from apps.rankings.services.seats import seats_weigh
    from apps.samples.models import Comparison, Completion

    project = project_create(name=slug, slug=slug, owner=None)
    people = {role: user_create(username=f"{slug}-{role}") for role in (Role.ANNOTATOR, Role.LEAD)}
    for role, user in people.items():
        member_add(project=project, user=user, role=role, actor=None)
    judge = Judge.objects.create(project=project, name="judge", kind="imported")
    other = Judge.objects.create(project=project, name="other", kind="imported")
    project.label_judge = judge.name
    project.save(update_fields=["label_judge"])
    prompts = PromptSet.objects.create(project=project, name="prompts")
    voter, now = people[Role.ANNOTATOR], timezone.now()
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        n_done = min(max(0, int(n * DONE) - start), size)
        with transaction.atomic():
            names = ("project_id", "prompt_set_id", "external_id", "text")
            asked = rows_insert(
                Prompt,
                names,
                [(project.pk, prompts.pk, f"p{start + i}", f"Question {start + i}?") for i in range(size)],
            )
            answers = rows_insert(
                Completion,
                ("project_id", "prompt_id", "index", "text"),
                [(project.pk, key, k, f"Answer {k} to {key}. " * 10) for key in asked for k in (0, 1)],
            )
            compared = rows_insert(
                Comparison,
                ("project_id", "prompt_id", "first_id", "second_id"),
                [(project.pk, key, answers[2 * i], answers[2 * i + 1]) for i, key in enumerate(asked)],
            )
            seats = rows_insert(
                Assignment,
                ("project_id", "comparison_id", "user_id", "state", "order", "lease_until"),
                [
                    (project.pk, key, voter.pk, "done", "01", now)
                    if i < n_done
                    else (project.pk, key, None, "free", "", None)
                    for i, key in enumerate(compared)
                ],
            )
            voting = [
                (key, seat, voter.pk, voter.username, "second" if key % 40 == 3 else "first", "01", now)
                for key, seat in zip(compared[:n_done], seats[:n_done], strict=True)
            ]
            names = ("comparison_id", "assignment_id", "user_id", "rater", "choice", "order", "at")
            votes = rows_insert(Vote, names, voting)
            reviewer = people[Role.LEAD]
            decided = [
                (key, judge.pk, reviewer.pk, reviewer.username, *said, "first", now)
                for key in compared[:n_done]
                for said in ([("override", "second")] if key % 8 == 2 else [("agree", "first")])
            ]
            names = ("comparison_id", "judge_id", "user_id", "rater", "kind", "choice", "judge_outcome", "at")
            decisions = rows_insert(Override, names, decided)
            rows_insert(
                Preference,
                ("comparison_id", "outcome", "p_first", "source", "label_ids", "derived_at"),
                [
                    (row[0], "second", 0.0, "override", [f"override:{decision}"], now)
                    if row[4] == "override"
                    else (row[0], voted[4], float(voted[4] == "first"), "human", [f"vote:{vote}"], now)
                    for row, decision, voted, vote in zip(decided, decisions, voting, votes, strict=True)
                ],
            )
            rows_insert(
                Verdict,
                ("judge_id", "comparison_id", "order", "state", "outcome", "p_first"),
                [
                    (who, key, order, "ok", "first" if p > 0.5 else "second", p)
                    for key in compared
                    for who, p_01, p_10 in (
                        (judge.pk, 0.8 + key % 19 / 100, 0.4 if key % 40 == 1 else 0.9),
                        (other.pk, *((0.2, 0.1) if key % 40 == 2 else (0.7, 0.9))),
                    )
                    for order, p in (("01", p_01), ("10", p_10))
                ],
            )
    counts_repair(project)
    review_counts_repair(project)
    with transaction.atomic():
        seats_weigh(list(Assignment.objects.filter(project=project, user=None).values_list("comparison", flat=True)))


def measured(slug: str) -> Iterator[tuple[str, float, int]]:
    """Yield what was asked for, the median of its milliseconds, and its statements."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from apps.accounts.models import Scope, User
    from apps.accounts.services import token_create
    from apps.projects.models import Project
    from apps.rankings import selectors

    def asked(do: Callable[[], Any], repeats: int) -> tuple[float, int]:
        do()
        taken = []
        with CaptureQueriesContext(connection) as queries:
            do()
        n_statements = len(queries)
        for _ in range(repeats):
            start = time.perf_counter()
            do()
            taken.append(1000 * (time.perf_counter() - start))
        return statistics.median(taken), n_statements

    annotator, lead = (User.objects.get(username=f"{slug}-{role}") for role in ("annotator", "lead"))
    token = {"HTTP_AUTHORIZATION": f"Token {token_create(user=annotator, scope=Scope.ANNOTATE)[1]}"}
    program = Client()
    held: dict[str, Any] = {}

    def following() -> None:
        reply = program.post(f"/api/v1/projects/{slug}/next/", **token)
        assert reply.status_code == 200, reply.content[:200]
        held.update(reply.json())

    def vote() -> None:
        body = {"assignment": held["assignment"], "choice": "left", "next": True}
        reply = program.post("/api/v1/votes/", json.dumps(body), content_type="application/json", **token)
        assert reply.status_code == 201, reply.content[:200]
        held.update(reply.json()["next"])

    yield "next", *asked(following, REPEATS)
    yield "vote with next", *asked(vote, REPEATS)
    for who, user, path in (
        ("desk", annotator, "annotate/"),
        ("overview", lead, ""),
        ("review", lead, "review/"),
        ("review: done", lead, "review/?show=done"),
        ("several", lead, "review/several/"),
        ("samples", lead, "samples/"),
        ("samples: runs", lead, "samples/runs/"),
    ):
        browser = Client()
        browser.force_login(user)

        def page(browser: Client = browser, path: str = path) -> None:
            reply = browser.get(f"/p/{slug}/{path}")
            assert reply.status_code == 200, (path, reply.status_code)

        yield who, *asked(page, 9)

    def decide() -> None:
        row = waiting.pop(0)
        reply = browser.post(
            f"/p/{slug}/review/{row}/decide/", {"kind": "agree"}, headers={"accept": "application/json"}
        )
        assert reply.status_code == 200, reply.content[:200]

    def undo() -> None:
        reply = browser.post(f"/p/{slug}/review/undo/", headers={"accept": "application/json"})
        assert reply.status_code == 200, reply.content[:200]

    def following_detail() -> None:
        reply = browser.get(f"/p/{slug}/review/{waiting.pop(0)}/?part=detail")
        assert reply.status_code == 200, reply.status_code

    browser = Client()
    browser.force_login(lead)
    project = Project.objects.get(slug=slug)
    waiting = [item.comparison_id for item in selectors.review_queue(project, limit=3 * REPEATS)]
    yield "review: next", *asked(following_detail, 10)
    yield "review: decide", *asked(decide, 10)
    yield "review: undo", *asked(undo, 5)


def inside(sizes: list[int]) -> list[dict[str, Any]]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    settings.ALLOWED_HOSTS = ["*"]
    call_command("migrate", verbosity=0)
    rows = []
    for n in sizes:
        make(n, f"g{n}")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    for n in sizes:
        for what, milliseconds, statements in measured(f"g{n}"):
            rows.append({"comparisons": n, "what": what, "ms": milliseconds, "statements": statements})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = sorted(int(n) for n in given.sizes.split(","))
    if given.inside:
        print(json.dumps(inside(sizes)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        env = {"DATABASE_URL": f"sqlite:///{folder}/db.sqlite3"} | dict(os.environ)
        env |= {"PREFLOOP_VAR": folder, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--inside", "--sizes", given.sizes]
        done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
    rows = json.loads(done.stdout.splitlines()[-1])
    first = {row["what"]: row["ms"] for row in rows if row["comparisons"] == sizes[0]}
    fine = True
    for row in rows:
        row["growth"] = row["ms"] / first[row["what"]]
        row["holds"] = row["growth"] <= GROWTH and (row["what"] in {"next", "vote with next"} or row["ms"] <= PAGE_MS)
        fine = fine and row["holds"]
    if given.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            said = f"{row['comparisons']:>9,}  {row['what']:<14} {row['ms']:8.1f} ms  {row['growth']:5.2f} times"
            print(f"{said}  {row['statements']:3} statements  {'yes' if row['holds'] else 'no'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
