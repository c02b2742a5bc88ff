"""`manage.py create_user NAME`: a user, a role in a project or admin rights, and a sign-in link."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from apps.accounts.addresses import address_set
from apps.accounts.models import User
from apps.accounts.services import admin_grant, login_link_create, user_create
from apps.core.json import dumps
from apps.projects.models import Project, Role
from apps.projects.services import member_add
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = (
        "Create a user (or use an existing one), give them a role in a project (--project) or make them an admin of "
        "the installation (--admin), and print a one-time login link."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="username")
        parser.add_argument("--project", metavar="SLUG")
        parser.add_argument("--role", default="annotator", choices=[role.value for role in Role])
        parser.add_argument(
            "--email", help="the address by which the identity provider knows them (as `set_email` sets)"
        )
        parser.add_argument("--admin", action="store_true", help="may make projects and import models from anywhere")
        parser.add_argument(
            "--no-link", action="store_true", help="do not print a login link; `login_link NAME` makes one"
        )
        parser.add_argument(
            "--base-url", default="", help="base URL of the link; default: the address that `up` serves"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["project"]
        if slug is None and not options["admin"]:
            raise CommandError("give a role: --project SLUG (and --role), or --admin")
        project = Project.objects.filter(slug=slug).first() if slug is not None else None
        if slug is not None and project is None:
            raise CommandError(f"there is no project {slug!r}")
        try:
            with transaction.atomic():
                user = User.objects.filter(username__iexact=options["name"]).first()
                is_new = user is None
                if user is None:
                    user = user_create(username=options["name"])
                if options["email"]:
                    address_set(user=user, email=options["email"])
                if project is not None:
                    member_add(project=project, user=user, role=Role(options["role"]), actor=None)
                if options["admin"]:
                    admin_grant(user=user)
                link = ""
                if not options["no_link"]:
                    link = login_link_create(user=user, now=timezone.now(), base_url=options["base_url"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        result = {
            "username": user.username,
            "project": slug,
            "role": options["role"] if project is not None else None,
            "admin": user.is_superuser,
            "created": is_new,
            "login_link": link or None,
        }
        if options["json"]:
            self.stdout.write(dumps(result))
            return
        if project is not None:
            self.stdout.write(f"{user.username} is {options['role']} of {project.slug}.")
        if options["admin"]:
            self.stdout.write(f"{user.username} is an admin.")
        if link:
            self.stdout.write(f"Sign in once, within an hour, at:\n{link}")
