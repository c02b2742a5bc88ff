"""`manage.py create_user NAME --project SLUG --role ROLE`: a person, a membership, and a link to come in by."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.services import login_link_create, user_create
from apps.core.json import dumps
from apps.projects.models import Project, Role
from apps.projects.services import member_add
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Make a person (or take one who is there), give them a role in a project, and print a one-time login link."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="username")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--role", default="annotator", choices=[role.value for role in Role])
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        try:
            with transaction.atomic():
                user = User.objects.filter(username__iexact=options["name"]).first()
                is_new = user is None
                if user is None:
                    user = user_create(username=options["name"])
                member_add(project=project, user=user, role=Role(options["role"]), actor=None)
                link = login_link_create(user=user, now=timezone.now())
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        result = {"username": user.username, "project": project.slug, "role": options["role"], "created": is_new}
        if options["json"]:
            self.stdout.write(dumps(result | {"login_link": link}))
        else:
            self.stdout.write(f"{user.username} is {options['role']} of {project.slug}.")
            self.stdout.write(f"Sign in once, within a day, at:\n{link}")
