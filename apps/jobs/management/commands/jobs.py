"""`manage.py jobs`: running, waiting and ended jobs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.jobs import selectors
from apps.jobs.models import Job, Worker
from apps.projects.models import Project


class Command(BaseCommand):
    help = "List jobs (unfinished ones first) and workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", metavar="SLUG", default="", help="only this project's")
        parser.add_argument("--limit", type=int, default=30)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Job.objects.all()
        if options["project"]:
            if not Project.objects.filter(slug=options["project"]).exists():
                raise CommandError(f"there is no project {options['project']!r}")
            rows = rows.filter(project__slug=options["project"])
        if options["limit"] < 1:
            raise CommandError("--limit must be at least 1")
        jobs = selectors.recent_jobs(rows, limit=options["limit"])
        workers = list(Worker.objects.order_by("queue", "name"))
        if options["json"]:
            self.stdout.write(
                dumps({"jobs": [_plain(job) for job in jobs], "workers": [_plain_worker(one) for one in workers]})
            )
            return
        for job in jobs:
            progress = f"{job.step}/{job.n_steps}" if job.n_steps else ""
            where = job.project.slug if job.project is not None else "-"
            tail = job.error.strip().splitlines()[-1] if job.error else ", ".join(filter(None, [job.message, job.pace]))
            self.stdout.write(
                f"{job.pk:6d}  {job.state:10s}  {job.queue:3s}  {where:20s}  {progress:>11s}  "
                f"{job.title or job.kind}{'  ' + tail if tail else ''}"
            )
        if not jobs:
            self.stdout.write("no jobs")
        for one in workers:
            self.stdout.write(f"worker {one.queue}: pid {one.pid}, last heartbeat {one.last_loop_at:%H:%M:%S} UTC")
        if not workers:
            self.stdout.write("no worker is running (manage.py up, or manage.py worker --queue gpu)")


def _plain(job: Job) -> dict[str, Any]:
    return {
        "id": job.pk,
        "project": job.project.slug if job.project is not None else None,
        "kind": job.kind,
        "title": job.title,
        "queue": job.queue,
        "state": job.state,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "step": job.step,
        "n_steps": job.n_steps,
        "message": job.message,
        "seconds_each": job.seconds_each,
        "failure_class": job.failure_class or None,
        "error": job.error or None,
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
    }


def _plain_worker(worker: Worker) -> dict[str, Any]:
    return {
        "queue": worker.queue,
        "pid": worker.pid,
        "host": worker.host,
        "started_at": worker.started_at.isoformat(),
        "last_loop_at": worker.last_loop_at.isoformat(),
    }
