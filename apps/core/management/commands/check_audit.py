"""`manage.py check_audit`: whether the audit log is whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.audit_chain import chain_check
from apps.core.json import dumps

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Read the whole audit log and say which entries are missing or were changed. It ends with 1 if any is. "
        "Note the head that it prints elsewhere: --head finds entries that were cut off at the end since."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--head", default="", metavar="POSITION:SEAL", help="as an earlier check printed it")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        found = chain_check(head=options["head"])
        if options["json"]:
            self.stdout.write(dumps(asdict(found)))
        else:
            self.stdout.write(f"{found.n_sealed} entries are sealed, {found.n_waiting} wait for it")
            if found.head:
                self.stdout.write(f"head {found.head}")
        if found.problems:
            more = f"\n… and {len(found.problems) - SHOWN} more" if len(found.problems) > SHOWN else ""
            raise CommandError("the audit log is not whole:\n" + "\n".join(found.problems[:SHOWN]) + more)
