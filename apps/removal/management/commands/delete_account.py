"""`manage.py delete_account USERNAME --labels pseudonym|delete`: delete a person's account."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.accounts.models import User
from apps.removal.accounts import AccountKept, account_delete
from apps.removal.services import LABELS


class Command(BaseCommand):
    help = (
        "Delete a person's account: who they are and how they sign in at once, what they said and saw in projects by "
        "the workers. --labels says whether labels are kept under a pseudonym or deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--labels", choices=LABELS, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username__iexact=options["username"], deleted_at=None).first()
        if user is None:
            raise CommandError(f"there is no user {options['username']!r}")
        try:
            account_delete(user=user, labels=options["labels"], by=None, now=timezone.now())
        except AccountKept as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{user.username} is deleted. Workers remove what is left in projects.")
