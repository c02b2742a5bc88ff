"""Many annotators at once, against Label Studio: `python benchmarks/annotate_load.py [--json] [--seconds 60]`.

Every annotator takes a pair and votes on it, again and again, by program, as fast as the server lets them. Ours is the
server that `make run` starts, on SQLite and, with `--postgres URL`, on a database made there; a label is one request
(`POST votes/` with `"next": true`). Label Studio 1.23's default server gets the same pairs and takes two (next task,
annotation). One after the other in one run. Afterwards every vote that was answered with success must be in the
database, once, and no pair may have more votes than it wants. Label Studio lives in `.venv-label-studio`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._harness import Claim, NotTheSame, report  # noqa: E402 (from the folder above)
from benchmarks._label_studio import (  # noqa: E402
    CONFIG,
    LABEL_STUDIO,
    environment,
    free_port,
    label_studio,
    pairs,
)

PAIRS = 20_000
WANTED_RATE, WANTED_P95, AT = 12.0, 0.1, 50  # at 50 annotators: times its labels/s, and share of its p95


@dataclass(slots=True)
class Load:
    """What one number of annotators did."""

    clients: int
    seconds: float
    labels: list[float] = field(default_factory=list)  # seconds each took
    refused: int = 0

    @property
    def rate(self) -> float:
        return len(self.labels) / self.seconds

    @property
    def p95(self) -> float:
        """In ms."""
        return 1000 * statistics.quantiles(self.labels, n=20)[-1] if len(self.labels) > 1 else float("inf")


class Caller:
    """One annotator's connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, self._headers)
        reply = self._connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text.startswith((b"{", b"[")) else None


Annotator = Callable[[Caller], Iterator[bool]]  # yields after each label, whether it was taken


def ours(call: Caller) -> Iterator[bool]:
    status, pair = call("POST", "/api/v1/projects/bench/next/")
    while status < 300 and pair is not None:
        body = {"assignment": pair["assignment"], "choice": "left", "next": True}
        status, said = call("POST", "/api/v1/votes/", body)
        yield status == 201
        pair = said.get("next") if status == 201 else None


def theirs(project: int) -> Annotator:
    result = [{"from_name": "pw", "to_name": "a", "type": "pairwise", "value": {"selected": "left"}}]

    def annotate(call: Caller) -> Iterator[bool]:
        while True:
            status, task = call("GET", f"/api/projects/{project}/next")
            if status != 200:
                return
            status, _ = call("POST", f"/api/tasks/{task['id']}/annotations/", {"result": result, "lead_time": 1.0})
            yield status == 201

    return annotate


def load(port: int, tokens: Sequence[str], annotator: Annotator, *, seconds: float) -> Load:
    """Let so many annotators work for so long; whoever is in the middle of a label then finishes it."""
    made = Load(len(tokens), seconds)
    lock = threading.Lock()
    begin = threading.Barrier(len(tokens) + 1)
    end = 0.0

    def work(token: str) -> None:
        call = Caller(port, token)
        begin.wait()
        last = time.perf_counter()
        for taken in annotator(call):
            now = time.perf_counter()
            with lock:
                if taken:
                    made.labels.append(now - last)
                else:
                    made.refused += 1
            if now >= end:
                return
            last = now

    threads = [threading.Thread(target=work, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    end = start + seconds
    begin.wait()
    for thread in threads:
        thread.join()
    made.seconds = time.perf_counter() - start
    return made


# --- our side ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _database(postgres: str, folder: Path) -> Iterator[str]:
    """A database of its own: a file, or one made on the server at `postgres` and dropped afterwards."""
    if not postgres:
        yield f"sqlite:///{folder}/db.sqlite3"
        return
    import psycopg

    name = f"prefloop_bench_{os.getpid()}"
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"{postgres.rsplit('/', 1)[0]}/{name}"
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _python(arguments: Sequence[str], env: Mapping[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=dict(env), check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None


def measure_ours(counts: Sequence[int], *, postgres: str, seconds: float, n_pairs: int) -> list[Load]:
    with tempfile.TemporaryDirectory() as made, _database(postgres, Path(made)) as url:
        env = dict(os.environ, PREFLOOP_VAR=made, DATABASE_URL=url, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
        tokens = _python([__file__, "--make", str(n_pairs), "--clients", ",".join(map(str, counts))], env)
        port = free_port()
        with (Path(made) / "log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(port), "--no-worker", "--no-demo"],
                cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            _wait(port, tokens[0])
            found = [load(port, tokens[:n], ours, seconds=seconds) for n in counts]
        finally:
            server.terminate()
            server.wait(60)
        there = _python([__file__, "--check"], env)
    n_sent = sum(len(one.labels) for one in found)
    if there["votes"] != n_sent or there["twice"] or there["wrong_counts"] or any(one.refused for one in found):
        raise NotTheSame(f"{n_sent:,} votes were answered with success, of the database: {there}")
    return found


def _wait(port: int, token: str) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            if Caller(port, token)("GET", "/api/v1/projects/")[0] < 500:
                return
        time.sleep(0.2)
    sys.exit("the server does not answer")


def _django() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django

    django.setup()


def make(n_pairs: int, n_people: int) -> list[str]:
    """Make the project with its pairs and people; gives their tokens."""
    _django()
    from django.utils import timezone

    from apps.accounts.models import Scope
    from apps.accounts.services import token_create, user_create
    from apps.exchange.services import import_file
    from apps.projects.models import Role
    from apps.projects.services import member_add, project_create

    project = project_create(name="bench", slug="bench", owner=None)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for i, pair in enumerate(pairs(n_pairs)):
            answers = [{"text": pair["first"]}, {"text": pair["second"]}]
            file.write(json.dumps({"id": f"r{i}", "prompt": pair["prompt"], "completions": answers}) + "\n")
        file.flush()
        import_file(project=project, path=file.name, name="pairs.jsonl", created_by=None, now=timezone.now())
    tokens = []
    for i in range(n_people):
        user = user_create(username=f"w{i}")
        member_add(project=project, user=user, role=Role.ANNOTATOR, actor=None)
        tokens.append(token_create(user=user, scope=Scope.ANNOTATE)[1])
    return tokens


def check() -> dict[str, int]:
    """Count what is in the database: all votes, the pairs with more than the one vote that they want, wrong counts."""
    _django()
    from django.db.models import Count

    from apps.labels.models import Vote
    from apps.projects.models import Project
    from apps.rankings.models import Assignment
    from apps.rankings.services.counts import differences

    def twice(rows: Any) -> int:
        return int(rows.values("comparison").order_by().annotate(n=Count("pk")).filter(n__gt=1).count())

    return {
        "votes": Vote.objects.count(),
        "twice": twice(Vote.objects.all()) + twice(Assignment.objects.filter(state="done")),
        "wrong_counts": len(differences(Project.objects.get(slug="bench"))),
    }


# --- Label Studio -----------------------------------------------------------------------------------------------------

_PEOPLE = """
from organizations.models import Organization, OrganizationMember
from rest_framework.authtoken.models import Token
from users.models import User
organization = Organization.objects.first()
for i in range({n}):
    user = User.objects.create_user("w%d@example.org" % i, "bench-only-here")
    OrganizationMember.objects.get_or_create(user=user, organization=organization)
    user.active_organization = organization
    user.save()
    token, _ = Token.objects.get_or_create(user=user)
    print("TOKEN", token.key)
"""


def measure_theirs(counts: Sequence[int], *, seconds: float, n_pairs: int) -> list[Load]:
    with tempfile.TemporaryDirectory() as made, label_studio(Path(made)) as client:
        project = client.post("/api/projects", json={"title": "pairs", "label_config": CONFIG}).raise_for_status()
        key = project.json()["id"]
        tasks = Path(made) / "tasks.json"
        tasks.write_text(json.dumps([{"data": pair} for pair in pairs(n_pairs)]))
        with tasks.open("rb") as file:
            sent = client.post(f"/api/projects/{key}/import", files={"file": (tasks.name, file, "application/json")})
        sent.raise_for_status()
        said = subprocess.run(
            [str(LABEL_STUDIO), "shell"], env=environment(Path(made)), text=True, capture_output=True, check=True,
            input=_PEOPLE.format(n=max(counts)) + "\n",
        )  # fmt: skip
        tokens = [line.split()[-1] for line in said.stdout.splitlines() if "TOKEN " in line]
        if len(tokens) != max(counts):
            sys.exit(f"Label Studio made {len(tokens)} people: {said.stdout[-500:]} {said.stderr[-500:]}")
        port = client.base_url.port or 0
        found = [load(port, tokens[:n], theirs(key), seconds=seconds) for n in counts]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each number of annotators (default 60)")
    parser.add_argument("--clients", default="1,8,50", help="how many annotators at once (default 1,8,50)")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--postgres", default="", metavar="URL", help="also on a database made on this server")
    parser.add_argument("--alone", action="store_true", help="without Label Studio: no claims, our figures only")
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    counts = [int(n) for n in given.clients.split(",")]
    if given.make is not None:
        print(json.dumps(make(given.make, max(counts))))
        return 0
    if given.check:
        print(json.dumps(check()))
        return 0
    sides = {"SQLite": measure_ours(counts, postgres="", seconds=given.seconds, n_pairs=given.pairs)}
    if given.postgres:
        sides["PostgreSQL"] = measure_ours(counts, postgres=given.postgres, seconds=given.seconds, n_pairs=given.pairs)
    if not given.alone:
        sides["Label Studio"] = measure_theirs(counts, seconds=given.seconds, n_pairs=given.pairs)
    notes = [
        f"{name}, {one.clients} at once: {one.rate:.1f} labels/s, p95 {one.p95:,.0f} ms, {len(one.labels):,} labels"
        for name, loads in sides.items()
        for one in loads
    ]
    claims = []
    peer = {one.clients: one for one in sides.pop("Label Studio", [])}
    for name, loads in sides.items():
        for one in loads:
            if one.clients in peer and one.clients == AT:
                other = peer[one.clients]
                what = f"{one.clients} annotators, {name}"
                claims.append(Claim.at_least(f"{what}: labels", one.rate, other.rate, "labels/s", WANTED_RATE))
                claims.append(Claim.at_most(f"{what}: p95 of a label", one.p95, other.p95, "ms", WANTED_P95))
    return report(claims, notes, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
