"""Services that every app uses."""

from __future__ import annotations

from typing import Any

from apps.core.acts import ACTS
from apps.core.models import AuditEvent
from apps.core.origin import origin_now


def audit(*, actor: Any, verb: str, target: str, project: Any = None, data: dict[str, Any] | None = None) -> AuditEvent:
    """Append to the audit log who did what to which object, and from where.

    `actor` is a User or None (the system); `project` a Project or None; `verb` is declared in `apps/core/acts.py`. What
    is written can't be taken back: never put a secret, a person's name or a label's reason into `target` or `data`.
    People are named by their ids ("user:7"), so that the log tells nothing about somebody whose data are deleted.
    """
    if verb not in ACTS:
        raise AssertionError(f"{verb!r} is not declared in apps/core/acts.py")
    where = origin_now()
    return AuditEvent.objects.create(
        actor=actor if actor is not None and actor.is_authenticated else None,
        verb=verb,
        target=target[:200],
        project_slug=project.slug if project is not None else "",
        data=data or {},
        address=where.address,
        origin=where.by,
    )
