"""`manage.py create_token USERNAME`: an API token, printed once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import User
from apps.accounts.services import token_create
from apps.core.json import dumps


class Command(BaseCommand):
    help = "Make an API token for a person and print it. It is stored hashed and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--days", type=int, default=0, help="how long it lasts; 0 (the default): until revoked")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username__iexact=options["username"], is_active=True).first()
        if user is None:
            raise CommandError(f"there is no active person {options['username']!r}")
        if options["days"] < 0:
            raise CommandError("--days must not be negative")
        lifetime = timedelta(days=options["days"]) if options["days"] else None
        row, text = token_create(user=user, lifetime=lifetime)
        result = {
            "username": user.username,
            "token": text,
            "expires_at": row.expiry.isoformat() if row.expiry else None,
        }
        self.stdout.write(dumps(result) if options["json"] else text)
