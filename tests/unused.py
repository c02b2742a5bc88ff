"""Functions, classes and methods that nobody calls: `python tests/unused.py` lists them and fails if there is one.

`vulture` finds names of apps, prefloop, workers and config that none of their own files, nor a benchmark, mentions:
what only a test calls is unused. Fields are left out: templates, JSON and Django read those by name.
"""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatch
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).resolve().parents[1]
CODE = ("apps", "prefloop", "workers", "config")
# what somebody else calls by its name, as "file:name", and who
CALLED = {
    "*/apps.py:*Config": "Django",
    "*/management/commands/*.py:*": "Django",
    "apps/*.py:Meta": "Django",
    "apps/*.py:as_sqlite": "Django, which compiles expressions for each database",
    "apps/*.py:clean_*": "Django's forms",
    "apps/*.py:label_from_instance": "Django's forms",
    "apps/*.py:to_python": "Django's forms",
    "apps/*.py:to_representation": "Django REST framework's fields",
    "apps/accounts/adapters.py:*": "django-allauth",
    "apps/accounts/factor_forms.py:*Form": "settings",
    "apps/accounts/sso.py:*": "django-allauth",
    "apps/accounts/schema.py:*": "drf-spectacular",
    "apps/accounts/permissions.py:HasScope": "settings",
    "apps/accounts/middleware.py:*": "settings",
    "apps/core/middleware.py:*": "settings",
    "apps/core/parsers.py:BodyParser": "settings",
    "apps/core/server.py:PatientWorker": "gunicorn",
    "apps/core/timing.py:request_timing": "settings",
    "apps/*api.py:get_*": "Django REST framework's method fields",
    "apps/projects/second_factor.py:*": "settings",
    "apps/judging/*forms.py:*Form": "the Judges page, which finds the form of each kind",
    "apps/judging/kind_forms.py:EnsembleForm": "the Judges page",
    "prefloop/formats/*.py:read*": "Python's readers of files",
    "prefloop/judging/rules/*.py:*": "rules, by the names of their checks",
    "prefloop/judging/transport.py:connect_unix_socket": "httpcore",
    "prefloop/policy/decoding.py:*": "transformers",
    "prefloop/policy/vllm_side/*.py:*": "vLLM",
    "prefloop/tabular/methods.py:*": "the laboratory, by what a loss declares",
    "prefloop/worlds/letters/judge_server.py:*": "Python's http.server",
    "workers/bells.py:run_queue": "Celery",
}


def unused() -> list[str]:
    """What is unused, as "file:line kind name", and reasons in CALLED that stand for nothing any more."""
    vulture = Vulture(ignore_decorators=["@handler*", "@register.*", "@receiver*", "@extend_schema*"])
    vulture.scavenge([str(ROOT / folder) for folder in (*CODE, "benchmarks")], exclude=["*/migrations/*"])
    named = set(re.findall(r"\w+", "\n".join(file.read_text("utf-8") for file in _texts())))
    found, needed = [], set()
    for item in vulture.get_unused_code():
        file = Path(item.filename).relative_to(ROOT).as_posix()
        if item.typ in ("variable", "attribute", "import") or item.name in named or not file.startswith(CODE):
            continue
        reasons = [pattern for pattern in CALLED if fnmatch(f"{file}:{item.name}", pattern)]
        needed.update(reasons)
        if not reasons:
            found.append(f"{file}:{item.first_lineno} {item.typ} {item.name} is called by nobody but tests")
    return found + [f"tests/unused.py: nothing needs {pattern!r}" for pattern in CALLED if pattern not in needed]


def _texts() -> list[Path]:
    """Files that call by name: templates, and the library's index of what it offers."""
    return [*ROOT.glob("templates/**/*.html"), *ROOT.glob("templates/**/*.txt"), ROOT / "prefloop" / "README.md"]


if __name__ == "__main__":
    lines = unused()
    print("\n".join(lines))
    sys.exit(bool(lines))
