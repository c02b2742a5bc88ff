"""Services that every app uses."""

from __future__ import annotations

from typing import Any

from apps.core.models import AuditEvent


def audit(*, actor: Any, verb: str, target: str, project: Any = None, data: dict[str, Any] | None = None) -> AuditEvent:
    """Append to the audit log who did what to which object. Never put a secret into `data`.

    `actor` is a User or None (the system); `project` a Project or None; `verb` like "member.role_change".
    """
    return AuditEvent.objects.create(
        actor=actor if actor is not None and actor.is_authenticated else None,
        verb=verb,
        target=target[:200],
        project_slug=project.slug if project is not None else "",
        data=data or {},
    )
