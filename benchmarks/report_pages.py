"""The report pages from a cold cache at 100,000 comparisons, on DATABASE_URL (default: a new SQLite file).

    python benchmarks/report_pages.py [--comparisons 100000] [--json]
    DATABASE_URL=postgres://… python benchmarks/report_pages.py     # a database that may be filled and emptied

Each comparison has two answers of 20 models, a vote, and a verdict of one judge in both orders with its reply of 600
characters. The rows are made inside the database, as one import, and are vacuumed as autovacuum would. Every page is
asked for with an empty cache, best of three. Prints seconds and queries a page.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ["OMP_NUM_THREADS"] = "1"
WANTED = 1.0
PAGES = ("agreement", "leaderboard", "frontier")
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)"


# ruff: noqa: E501 (SQL reads better unbroken)


def fill(n: int) -> None:
    """Make the project "bench" with rows of arithmetic: no two pages' worth of Python objects."""
    from django.db import connection, transaction
    from django.utils import timezone

    from apps.accounts.models import User
    from apps.labels.models import Judge
    from apps.projects.models import Membership, Project
    from apps.prompts.models import ImportBatch, PromptSet

    project = Project.objects.create(slug="bench", name="Bench")
    lead = User.objects.create(username="bench-lead")
    Membership.objects.create(project=project, user=lead, role="lead")
    prompts = PromptSet.objects.create(project=project, name="bench")
    batch = ImportBatch.objects.create(project=project, name="bench", format="records", n_records=n, ready=True).pk
    judge = Judge.objects.create(project=project, name="judge", kind="imported")
    now, text = timezone.now(), "A sentence of an answer, as long as answers are. " * 40
    said = "CASE WHEN ({}) %% 10 = 0 THEN 'tie' WHEN ({}) %% 10 < 4 THEN 'second' ELSE 'first' END"
    json_cast = "::jsonb" if connection.vendor == "postgresql" else ""
    numbers = f"{_NUMBERS} "
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO prompts_prompt (id, created_at, project_id, prompt_set_id, batch_id, external_id, text, split, "
            f"metadata, record_sha256) {numbers} SELECT i, %s, %s, %s, %s, 'p' || i, 'A prompt', 'train', "
            f"('{{\"topic\": ' || (i %% 4) || '}}'){json_cast}, '' FROM n",
            [n, now, project.pk, prompts.pk, batch],
        )
        for half, offset in ((0, 7), (1, 11)):
            cursor.execute(
                'INSERT INTO samples_completion (id, created_at, project_id, batch_id, prompt_id, "index", text, token_ids, '
                f"finished, model_name, metadata) {numbers} SELECT 2 * i - 1 + {half}, %s, %s, %s, i, {half}, "
                f"substr(%s, 1, 100 + (i * {offset * 37}) %% 1500), '[]'{json_cast}, true, "
                f"'model-' || ((i * {offset}) %% 10 + {10 * half}), '{{}}'{json_cast} FROM n",
                [n, now, project.pk, batch, text],
            )
        cursor.execute(
            "INSERT INTO samples_comparison (id, created_at, project_id, batch_id, prompt_id, first_id, second_id, "
            f"origin, held_out, gold) {numbers} SELECT i, %s, %s, %s, i, 2 * i - 1, 2 * i, 'import', false, '' FROM n",
            [n, now, project.pk, batch],
        )
        cursor.execute(
            'INSERT INTO rankings_vote (created_at, comparison_id, rater, choice, "order", guideline, reason, adjudication) '
            f"{numbers} SELECT %s, i, 'rater-' || (i %% 8), {said.format('i * 13', 'i * 13')}, '01', '', '', false FROM n",
            [n, now],
        )
        for order, step in (("01", 13), ("10", 17)):
            cursor.execute(
                'INSERT INTO judging_verdict (created_at, judge_id, comparison_id, "order", sample, state, outcome, raw, '
                f"rationale, usage, flags) {numbers} SELECT %s, %s, i, '{order}', 0, 'ok', {said.format(*[f'i * {step}'] * 2)}, substr(%s, 1, 600), '', "
                f"'{{}}'{json_cast}, '[]'{json_cast} FROM n",
                [n, now, judge.pk, text],
            )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def measure() -> list[dict[str, object]]:
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from apps.accounts.models import User

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="bench-lead"))
    lines = []
    for page in PAGES:
        took = []
        for _ in range(3):
            cache.clear()
            began = time.perf_counter()
            response = client.get(f"/p/bench/reports/{page}/")
            took.append(time.perf_counter() - began)
            assert response.status_code == 200, response.status_code
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/p/bench/reports/{page}/")
        lines.append(
            {
                "claim": f"the {page} page from a cold cache on {connection.vendor}",
                "ours": min(took),
                "peer": None,
                "unit": "s",
                "queries": len(queries),
                "wanted": WANTED,
                "holds": min(took) < WANTED,
            }
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as var:
        os.environ["PREFLOOP_VAR"] = str(Path(var))
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        call_command("flush", interactive=False, verbosity=0)
        fill(args.comparisons)
        lines = measure()
    if args.json:
        print(json.dumps(lines, indent=2))
    else:
        for one in lines:
            verdict = "holds" if one["holds"] else "FAILS"
            print(f"{one['claim']}: {one['ours']:.2f} s, {one['queries']} queries (wanted {WANTED:g} s): {verdict}")
    return 0 if all(one["holds"] for one in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
