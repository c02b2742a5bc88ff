"""`manage.py set_email USERNAME ADDRESS`: by which address the identity provider knows somebody."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.addresses import address_set
from apps.accounts.models import User
from apps.accounts.services import AccountRefused


class Command(BaseCommand):
    help = (
        "Let whoever the identity provider knows by this verified address sign in as USERNAME. Without an address "
        "nobody signs in as them that way any more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("address", nargs="?", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username__iexact=options["username"]).first()
        if user is None:
            raise CommandError(f"there is no user {options['username']!r}")
        try:
            address_set(user=user, email=options["address"])
        except AccountRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{user.username}: {options['address'] or 'no single sign-on'}")
