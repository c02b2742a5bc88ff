"""`manage.py makemessages`: Django's own, which also collects what `prefloop` declares and the names of terms."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.commands import makemessages

from apps.core.declared_texts import declared_texts

_TERM = re.compile(r"\{% term \"([^\"]+)\" %\}")


class Command(makemessages.Command):
    help = "Bring the catalogs of translations in locale/ up to date with the texts that the code and pages show."

    def handle(self, *args: Any, **options: Any) -> None:
        # places in the code would change with every line that is added above a text
        options["no_location"] = True
        options["ignore_patterns"] = [*options["ignore_patterns"], ".venv*", "tests", "benchmarks", "var"]
        if not options["locale"] and not options["all"]:
            options["locale"] = [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
        with tempfile.TemporaryDirectory() as folder:
            self.declared = Path(folder) / "declared.py"
            self.declared.write_text(
                "".join(f"# xgettext:no-python-format\n_({text!r})\n" for text in [*declared_texts(), *term_names()]),
                "utf-8",
            )
            super().handle(*args, **options)

    def find_files(self, root: str) -> list[Any]:
        found: list[Any] = super().find_files(root)
        self.locale_paths = [str(path) for path in settings.LOCALE_PATHS]
        place = self.translatable_file_class(str(self.declared.parent), self.declared.name, self.locale_paths[0])
        return sorted([*found, place])


def term_names() -> list[str]:
    """Return the terms that templates explain and show under their own names."""
    pages = Path(settings.BASE_DIR, "templates").rglob("*.html")
    return sorted({name for page in pages for name in _TERM.findall(page.read_text("utf-8"))})
