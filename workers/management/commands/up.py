"""`manage.py up`: run everything with one command."""

from __future__ import annotations

import http.client
import os
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.services import admin_grant, login_link_create, user_create
from apps.dashboard.demos import demo_is_seeded, demo_seed
from apps.jobs.models import Job, JobState
from apps.projects.models import Project, Role
from apps.projects.services import member_add
from prefloop.demos import LETTERS
from prefloop.types import PrefloopError
from workers.addresses import Addresses, addresses, require_free
from workers.cards import parse, shared_out
from workers.supervisor import Supervisor

ANSWER_SECONDS = 60.0


class Command(BaseCommand):
    help = "Start everything: database, web page, workers. Ctrl-C ends everything."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--host", default="127.0.0.1", help="an address or name of this machine; 0.0.0.0 for all")
        parser.add_argument("--gpus", help="cards of this machine, 0,1: a gpu worker for each (for PREFLOOP_PROCESSES)")
        parser.add_argument("--no-worker", action="store_true", help="only the web page")
        parser.add_argument("--no-demo", action="store_true", help="do not make the demo project on a first start")

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        place = addresses(host=options["host"], port=options["port"])
        try:
            require_free(bind=place.bind)
            serving = workers_of(options["gpus"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        env = self._environment(place)
        supervisor = Supervisor(say=self.say, grace_seconds=settings.WORKER_GRACE_SECONDS + 5)
        supervisor.listen()
        try:
            self._database()
            web = [sys.executable, "-m", "gunicorn", "config.wsgi:application", "--bind", place.bind]
            web += ["--worker-class", "apps.core.server.PatientWorker", "--threads", "8", "--workers", "1"]
            web += ["--worker-connections", "500", "--log-level", "warning"]
            web += ["--timeout", "60", "--graceful-timeout", "5", "--no-control-socket"]
            supervisor.add(name="web", arguments=web, env=env)
            if not options["no_worker"]:
                for name, arguments in serving:
                    command = [sys.executable, "manage.py", "worker", *arguments]
                    supervisor.add(name=name, arguments=command, env=env)
            seeding = not options["no_demo"] and self._demo_wanted()
            self._answers(place, supervisor)
            admin = self._admin(place)
            self._adopt(admin)
            if seeding:
                demo_seed(LETTERS, owner=admin)
                self.say("demo: seeding the project “letters”; the page already answers")
            follow = Follow(say=self.say) if seeding and not options["no_worker"] else None
            if not supervisor.stopping.is_set():
                self.say("ready; Ctrl-C ends everything")
            supervisor.serve(every_turn=follow.look if follow else lambda: None)
        finally:
            self.say("ending…")
            supervisor.end()
            self.say("ended")

    def say(self, text: str) -> None:
        self.stdout.write(f"[{time.monotonic() - self.began:6.1f} s] {text}")
        self.stdout.flush()

    def _environment(self, place: Addresses) -> dict[str, str]:
        """The children's environment: the host names that browsers may use, and the address in links."""
        hosts = [*dict.fromkeys([*settings.ALLOWED_HOSTS, *place.names])]
        origins = [*dict.fromkeys([*settings.CSRF_TRUSTED_ORIGINS, *place.origins])]
        if not os.environ.get("PREFLOOP_BASE_URL"):
            settings.BASE_URL = place.url
        settings.BASE_URL_FILE.write_text(settings.BASE_URL + "\n", "utf-8")  # for links that commands print
        if not place.bind.startswith(("127.", "[::1]")):
            self.say(f"listening beyond this machine, without encryption: {place.bind}")
            self.say(f"names that work: {', '.join(place.names)}")
            self.say("for another name, set ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS")
        return {
            **os.environ,
            "ALLOWED_HOSTS": ",".join(hosts),
            "CSRF_TRUSTED_ORIGINS": ",".join(origins),
            "PREFLOOP_BASE_URL": settings.BASE_URL,
            "PYTHONUNBUFFERED": "1",
        }

    def _database(self) -> None:
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
        self.say(f"database: {connection.vendor}, bringing its tables up to date")
        try:
            call_command("migrate", verbosity=0, interactive=False)
        except DatabaseError as error:
            raise CommandError(f"the database does not answer: {str(error).strip().splitlines()[0]}") from error
        self.say("database: ready")

    def _answers(self, place: Addresses, supervisor: Supervisor) -> None:
        """Wait for the page, so that the printed address works."""
        host, _, port = place.bind.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - asked, not bound
        end = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < end and not supervisor.stopping.is_set():
            link = http.client.HTTPConnection(host, int(port), timeout=5)
            try:
                link.request("GET", "/", headers={"Host": place.url.partition("//")[2]})
                link.getresponse().read()
            except OSError:
                if supervisor.stopping.wait(0.1):
                    return
                continue
            finally:
                link.close()
            self.say(f"web: answering on {place.url}")
            return
        if not supervisor.stopping.is_set():
            self.say(f"web: no answer on {place.url} within {ANSWER_SECONDS:.0f} s yet; its messages are above")

    def _admin(self, place: Addresses) -> User:
        """The first user: no default password, a one-time link until one is set."""
        admin = User.objects.filter(username="admin").first()
        if admin is None:
            admin = user_create(username="admin")
            admin_grant(user=admin)
        if not admin.has_usable_password():
            link = login_link_create(user=admin, now=timezone.now())
            self.say("sign in as admin with this link (works once, for an hour), then set a password:")
            self.stdout.write(f"\n    {link}\n\n")
            self.stdout.flush()
        return admin

    def _adopt(self, admin: User) -> None:
        """Give admin the projects without an owner, which commands made before there was a user."""
        for project in Project.objects.exclude(memberships__role=Role.OWNER).order_by("id"):
            member_add(project=project, user=admin, role=Role.OWNER, actor=None)
            self.say(f"the project “{project.slug}” had no owner: admin owns it now")

    def _demo_wanted(self) -> bool:
        """On a first start, and again until the demo is complete, unless other projects were made since."""
        return not Project.objects.exclude(slug=LETTERS.world).exists() and not demo_is_seeded(LETTERS)


def workers_of(gpus: str | None) -> list[tuple[str, list[str]]]:
    """Name the workers to start, with their arguments: one for cpu jobs, and for gpu jobs one on each card, or on as
    many cards as the processes of a run use together. Raises CardsRefused.
    """
    found = [("cpu worker", ["--queue", "cpu"])]
    if gpus is None:
        return [*found, ("gpu worker", ["--queue", "gpu"])]
    for group in shared_out(parse(gpus), each=settings.TRAINING_PROCESSES):
        cards = ",".join(group)
        found.append((f"gpu worker on card {cards}", ["--queue", "gpu", "--gpus", cards]))
    return found


class Follow:
    """Reports in the terminal how the demo is progressing: a line when a job starts, ends, and now and then between."""

    EVERY_SECONDS = 0.5
    BETWEEN_SECONDS = 5.0

    def __init__(self, *, say: Any) -> None:
        self.say = say
        self._looked = 0.0
        self._told: dict[int, tuple[str, int]] = {}
        self._told_at: dict[int, float] = {}
        self._done = False

    def look(self) -> None:
        now = time.monotonic()
        if self._done or now - self._looked < self.EVERY_SECONDS:
            return
        self._looked = now
        try:
            for job in Job.objects.filter(project__slug=LETTERS.world).exclude(state=JobState.QUEUED).order_by("id"):
                self._tell(job, now)
            if demo_is_seeded(LETTERS):
                self._done = True
                self.say("demo: complete")
        except DatabaseError as error:
            self.say(f"demo: the database does not answer just now: {error}")
        finally:
            connection.close()

    def _tell(self, job: Job, now: float) -> None:
        state, step = self._told.get(job.pk, ("", -1))
        title = job.title or job.kind
        running = job.state in (JobState.STARTING, JobState.RUNNING)
        if job.state != state and job.is_terminal:
            detail = f": {job.error.strip().splitlines()[-1]}" if job.error else ""
            self.say(f"{title} – {job.get_state_display().lower()}{detail}")
        elif running and step < 0:
            self.say(f"{title} …")
        elif running and job.step != step and now - self._told_at.get(job.pk, 0.0) >= self.BETWEEN_SECONDS:
            self.say(f"{title} {job.step}/{job.n_steps} {job.message}".rstrip())
        else:
            return
        self._told[job.pk] = (job.state, job.step)
        self._told_at[job.pk] = now
