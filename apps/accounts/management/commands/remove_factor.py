"""`manage.py remove_factor USERNAME`: for somebody who has lost their second factor and their recovery codes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.factors import factors_remove
from apps.accounts.models import User
from apps.core.json import dumps


class Command(BaseCommand):
    help = "Take a person's second factors and recovery codes away, and end their sessions. Make sure who asks you."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username__iexact=options["username"]).first()
        if user is None:
            raise CommandError(f"there is no user {options['username']!r}")
        kinds = factors_remove(user=user)
        if not kinds:
            raise CommandError(f"{user.username} has no second factor")
        if options["json"]:
            self.stdout.write(dumps({"username": user.username, "removed": kinds}))
        else:
            self.stdout.write(f"{user.username} has no second factor now, and signs in with the password alone.")
