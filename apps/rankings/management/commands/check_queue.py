"""Compare the counts of a project's queue with a recount."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import User
from apps.projects.models import Project
from apps.rankings.services import seats_settle
from apps.rankings.services.counts import counts_repair, differences


class Command(BaseCommand):
    """Recounts what the rail and Annotate show, and says where the kept numbers differ."""

    help = "Recount the queue of every project, or of one, and say which of the kept numbers are wrong."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", nargs="?", help="a project's address (slug); every project if left out")
        parser.add_argument("--repair", action="store_true", help="make missing seats and correct the numbers")

    def handle(self, *args: Any, **options: Any) -> None:
        projects = Project.objects.order_by("slug")
        if options["project"]:
            projects = projects.filter(slug=options["project"])
            if not projects:
                raise CommandError(f"there is no project {options['project']!r}")
        n_wrong = 0
        for project in projects:
            if options["repair"]:
                seats_settle(project=project)
            wrong = counts_repair(project) if options["repair"] else differences(project)
            names = dict(User.objects.filter(pk__in=[user for user, _ in wrong if user]).values_list("pk", "username"))
            for (user, name), (says, counted) in sorted(wrong.items(), key=lambda item: (item[0][0] or 0, item[0][1])):
                whose = "the project" if user is None else names.get(user, f"user {user}")
                self.stdout.write(f"{project.slug}: {name} of {whose} is kept as {says:,}, counted {counted:,}")
            n_wrong += len(wrong)
        if n_wrong and not options["repair"]:
            raise CommandError(f"{n_wrong:,} of the kept numbers are wrong; --repair corrects them")
        self.stdout.write(f"{n_wrong:,} corrected" if n_wrong else "every number is right")
