"""`manage.py login_link USERNAME`: a one-time sign-in link for somebody who can't sign in."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.services import login_link_create
from apps.core.json import dumps


class Command(BaseCommand):
    help = "Print a link that signs a user in once, within an hour. Earlier links stop working."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument(
            "--base-url", default="", help="base URL of the link; default: the address that `up` serves"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username__iexact=options["username"], is_active=True).first()
        if user is None:
            raise CommandError(f"there is no active user {options['username']!r}")
        link = login_link_create(user=user, now=timezone.now(), base_url=options["base_url"])
        self.stdout.write(dumps({"username": user.username, "login_link": link}) if options["json"] else link)
