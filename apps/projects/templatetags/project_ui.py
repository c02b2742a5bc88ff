"""The project's frame: its rail, and the switcher in the top bar. Load with {% load project_ui %}."""

from __future__ import annotations

from typing import Any

from django import template
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.core import shell
from apps.projects import access
from apps.projects.models import Role

register = template.Library()

# key, word, icon, path below /p/<slug>/, least role that finds it useful, counter of apps/core/shell.py
STATIONS: tuple[tuple[str, Any, str, str, Role, str], ...] = (
    ("overview", _("Overview"), "overview", "", Role.ANNOTATOR, ""),
    ("prompts", _("Prompts"), "prompts", "prompts/", Role.LEAD, ""),
    ("samples", _("Samples"), "samples", "samples/", Role.LEAD, ""),
    ("annotate", _("Annotate"), "annotate", "annotate/", Role.ANNOTATOR, "annotate"),
    ("review", _("Review"), "review", "review/", Role.ANNOTATOR, "review"),
    ("judges", _("Judges"), "judges", "judges/", Role.LEAD, ""),
    ("loops", _("Loops"), "loops", "loops/", Role.LEAD, ""),
    ("policies", _("Policies"), "policies", "policies/", Role.LEAD, ""),
    ("reports", _("Reports"), "reports", "reports/agreement/", Role.LEAD, ""),
    ("data", _("Data"), "data", "data/", Role.LEAD, ""),
    ("settings", _("Settings"), "settings", "settings/", Role.ANNOTATOR, ""),
)
ON_PHONE = ("overview", "annotate", "review", "loops")  # the rest is behind "More"


def _stations(user: Any, project: Any, active: str = "", *, counted: bool = False) -> list[dict[str, Any]]:
    role = access.role_of(user, project)
    stations = []
    for key, word, icon, path, least, counter in STATIONS:
        if not access.includes(role, least):
            continue
        if key == "review" and role == Role.ANNOTATOR and not project.annotators_may_override:
            continue
        stations.append(
            {
                "key": key,
                "word": word,
                "icon": icon,
                "url": f"/p/{project.slug}/{path}",
                "active": key == active,
                "n": shell.count(counter, user=user, project=project) if counted and counter else None,
                "on_phone": key in ON_PHONE,
            }
        )
    return stations


@register.inclusion_tag("projects/_rail.html", takes_context=True)
def rail(context: template.Context) -> dict[str, Any]:
    """Draw the rail of `project` with `active` lit; only stations the person's role can use."""
    request: HttpRequest = context["request"]
    project = context["project"]
    return {
        "stations": _stations(request.user, project, str(context.get("active") or ""), counted=True),
        "project": project,
    }


@register.inclusion_tag("projects/_switcher.html", takes_context=True)
def project_switcher(context: template.Context) -> dict[str, Any]:
    """Draw the menu of the person's projects; the present one is marked."""
    user = context["request"].user
    return {"projects": list(access.projects_for(user).order_by("name")[:50]), "project": context.get("project")}


@register.simple_tag(takes_context=True)
def palette_entries(context: template.Context) -> list[dict[str, str]]:
    """Return the pages and actions that the command palette offers to this user, for json_script."""
    user, project = context["request"].user, context.get("project")
    entries: list[dict[str, str]] = []
    if project is not None:
        entries += [
            {"label": str(station["word"]), "url": station["url"], "icon": station["icon"], "group": project.name}
            for station in _stations(user, project)
        ]
        if access.has_role(user, project, Role.LEAD):
            for label, path, icon in (
                (_("Agreement report"), "reports/agreement/", "agreement"),
                (_("Leaderboard"), "reports/leaderboard/", "leaderboard"),
                (_("Reward models"), "reports/reward-models/", "leaderboard"),
                (_("Frontier"), "reports/frontier/", "frontier"),
                (_("Laboratory"), "reports/laboratory/", "graph"),
                (_("Import data"), "data/", "upload"),
                (_("New loop"), "loops/new/", "plus"),
            ):
                entries.append(
                    {"label": str(label), "url": f"/p/{project.slug}/{path}", "icon": icon, "group": project.name}
                )
    for other in access.projects_for(user).order_by("name")[:50]:
        if project is None or other.pk != project.pk:
            entries.append(
                {"label": other.name, "url": f"/p/{other.slug}/", "icon": "folder", "group": str(_("Projects"))}
            )
    for label, path, icon in (
        (_("All projects"), "/", "home"),
        (_("Your profile"), "/account/", "person"),
        (_("API tokens"), "/account/tokens/", "key"),
        (_("API documentation"), "/api/docs/", "code"),
    ):
        entries.append({"label": str(label), "url": path, "icon": icon, "group": str(_("Everywhere"))})
    for label, theme, icon in (
        (_("Theme: as the system"), "auto", "contrast"),
        (_("Theme: light"), "light", "sun"),
        (_("Theme: dark"), "dark", "moon"),
    ):
        entries.append({"label": str(label), "theme": theme, "icon": icon, "group": str(_("Everywhere"))})
    return entries


@register.simple_tag(takes_context=True)
def palette_search(context: template.Context) -> str:
    """Where the palette searches recipes, loops and prompts; "" for users who may not see them."""
    user, project = context["request"].user, context.get("project")
    if project is None or not access.has_role(user, project, Role.LEAD):
        return ""
    return f"/p/{project.slug}/find/"
