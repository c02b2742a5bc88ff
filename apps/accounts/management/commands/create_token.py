"""`manage.py create_token USERNAME`: an API token, printed once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import Scope, User
from apps.accounts.services import MOST_TOKEN_DAYS, AccountRefused, token_create
from apps.core.json import dumps


class Command(BaseCommand):
    help = "Make an API token for a person and print it. It is stored hashed and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        days = settings.TOKEN_LIFETIME.days
        parser.add_argument(
            "--days", type=int, default=days, help=f"days until it expires, 1 to {MOST_TOKEN_DAYS}; {days} by default"
        )
        parser.add_argument(
            "--scope", choices=Scope.values, default=Scope.MANAGE.value, help="what it allows; by default everything"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username__iexact=options["username"], is_active=True).first()
        if user is None:
            raise CommandError(f"there is no active user {options['username']!r}")
        try:
            lifetime = timedelta(days=options["days"])
            row, text = token_create(user=user, scope=Scope(options["scope"]), lifetime=lifetime)
        except (AccountRefused, OverflowError):
            raise CommandError(f"--days must be 1 to {MOST_TOKEN_DAYS}") from None
        result = {
            "username": user.username,
            "token": text,
            "scope": options["scope"],
            "expires_at": row.expiry.isoformat(),
        }
        self.stdout.write(dumps(result) if options["json"] else text)
