"""Compare the counts of a project's queue with a recount."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import User
from apps.labels.models import Judge
from apps.labels.review_counts import review_counts_repair, review_differences
from apps.projects.models import Project
from apps.rankings.services import seats_settle
from apps.rankings.services.counts import counts_repair, differences
from apps.rankings.services.seats import n_seats_wrong
from apps.ratings.services import seats_settle as answers_settle
from apps.ratings.services.seats import n_seats_wrong as n_of_answers_wrong


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
            of_answers = n_of_answers_wrong(project)
            seats = n_seats_wrong(project) + of_answers
            if options["repair"]:
                seats_settle(project=project)
            if options["repair"] and of_answers:
                answers_settle(project=project)
            wrong = counts_repair(project) if options["repair"] else differences(project)
            people = dict(User.objects.filter(pk__in=[user for user, _ in wrong if user]).values_list("pk", "username"))
            said = [("the project" if user is None else people[user], name, two) for (user, name), two in wrong.items()]
            of_judges = review_counts_repair(project) if options["repair"] else review_differences(project)
            judges = Judge.objects.in_bulk([judge for judge, _ in of_judges])
            said += [(f"judge {judges[judge].name}", name, two) for (judge, name), two in of_judges.items()]
            for whose, name, (kept, counted) in sorted(said):
                self.stdout.write(f"{project.slug}: {name} of {whose} is kept as {kept:,}, counted {counted:,}")
            if seats:
                self.stdout.write(f"{project.slug}: {seats:,} free seats are missing, too many, or out of their turn")
            n_wrong += len(said) + seats
        if n_wrong and not options["repair"]:
            raise CommandError(f"{n_wrong:,} of the kept numbers are wrong; --repair corrects them")
        self.stdout.write(f"{n_wrong:,} corrected" if n_wrong else "every number is right")
