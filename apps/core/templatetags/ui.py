"""Tags and filters of every template (a builtin: no {% load %} needed)."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from typing import Any

from django import forms, template
from django.forms import BoundField
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from apps.core import text as core_text
from apps.core.terms import TERMS

register = template.Library()

NNBSP = "\u202f"  # narrow no-break space, between a number and its unit
MINUS = "\u2212"

# state of a job, loop, round or judgement -> (class of components.css, icon, word)
STATUSES = {
    "queued": ("queued", "clock", gettext_noop("Queued")),
    "starting": ("running", "loader", gettext_noop("Starting")),
    "running": ("running", "loader", gettext_noop("Running")),
    "cancelling": ("waiting", "loader", gettext_noop("Cancelling")),
    "pausing": ("waiting", "loader", gettext_noop("Pausing")),
    "waiting": ("waiting", "hourglass", gettext_noop("Waiting for people")),
    "paused": ("waiting", "pause", gettext_noop("Paused")),
    "succeeded": ("done", "circle-check", gettext_noop("Done")),
    "done": ("done", "circle-check", gettext_noop("Done")),
    "failed": ("failed", "circle-cross", gettext_noop("Failed")),
    "cancelled": ("queued", "ban", gettext_noop("Cancelled")),
}
CHIP_ICONS = {"human": "person", "machine": "machine", "override": "override", "plain": ""}


@register.simple_tag
def icon(name: str, label: str = "", css: str = "") -> SafeString:
    """Draw a symbol of static/icons.svg; with a label it is announced by screen readers, without one it is
    decoration.
    """
    classes = f"icon {css}".strip()
    href = f"{static('icons.svg')}#{name}"
    if label:
        return format_html(
            '<svg class="{}" role="img" aria-label="{}" viewBox="0 0 24 24"><use href="{}"/></svg>',
            classes,
            label,
            href,
        )
    return format_html(
        '<svg class="{}" aria-hidden="true" focusable="false" viewBox="0 0 24 24"><use href="{}"/></svg>', classes, href
    )


@register.filter
def model_text(value: str | None) -> SafeString:
    """Render text by a model or an unknown author as safe Markdown."""
    return core_text.model_text_html(value or "")


@register.filter
def model_text_beside(value: str | None, other: str | None) -> SafeString:
    """Render a text that is compared with another: both are rendered, or both are plain."""
    return core_text.model_text_html(value or "", other or "")


@register.filter
def visible_controls(value: str | None) -> str:
    """Mark invisible characters, for raw text inside <pre class="raw">."""
    return core_text.visible_controls(str(value or ""))  # a text that is translated late is no str


@register.simple_tag
def chip(kind: str, text: Any, title: str = "") -> SafeString:
    """Draw a small mark: `human` solid, `machine` outlined, `override` solid over struck, `plain` neither."""
    name = CHIP_ICONS.get(kind, "")
    mark: SafeString | str = icon(name) if name else ""
    return format_html('<span class="chip chip-{}"{}>{}{}</span>', kind, _title(title), mark, text)


@register.simple_tag
def status(state: str, word: str = "") -> SafeString:
    """Show a state as icon and word in its colour; `word` replaces the usual one."""
    css, name, usual = STATUSES.get(str(state), ("queued", "circle", str(state).replace("_", " ").capitalize()))
    return format_html('<span class="status status-{}">{}{}</span>', css, icon(name), word or _(usual))


def _title(title: str) -> SafeString | str:
    return format_html(' title="{}"', title) if title else ""


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and not math.isfinite(value))


@register.filter
def number(value: float | None, digits: int = 2) -> str:
    """Write a number with the given decimals, a real minus sign, and a dash if there is none."""
    if value is None or _missing(value):
        return "–"
    return f"{float(value):,.{int(digits)}f}".replace("-", MINUS)


@register.filter
def percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction as a percentage: 0.712 -> "71.2 %"; a dash if there is none."""
    if value is None or _missing(value):
        return "–"
    return f"{100 * float(value):.{int(digits)}f}".replace("-", MINUS) + f"{NNBSP}%"


@register.simple_tag
def interval(
    value: float | None, low: float | None = None, high: float | None = None, n: int | None = None, unit: str = "%"
) -> SafeString:
    """Write a value with its interval and n: "71.2 % [68.1, 74.0], n = 974".

    With unit "%" (the default) the numbers are fractions; any other unit is appended unchanged. Small numbers have two
    more decimals, counts none.
    """
    if value is None or _missing(value):
        return format_html('<span class="interval muted">{}</span>', "–")
    bounds = [] if low is None or high is None or _missing(low) or _missing(high) else [float(low), float(high)]
    scale, digits = (100.0, 1) if unit == "%" else (1.0, 2)
    if unit != "%" and isinstance(value, int) and not bounds:
        digits = 0
    elif unit != "%" and 0 < max(abs(one) for one in (float(value), *bounds)) < 0.1:
        digits = 4
    main = number(float(value) * scale, digits) + (f"{NNBSP}{unit}" if unit else "")
    parts: SafeString | str = ""
    if bounds:
        shown = [number(one * scale, digits) for one in bounds]
        parts = format_html(' <span class="interval-range">[{}, {}]</span>', *shown)
    count: SafeString | str = ""
    if n is not None:
        count = format_html('<span class="interval-n">, n{}={}{}</span>', NNBSP, NNBSP, f"{n:,}")
    return format_html('<span class="interval"><span class="interval-value">{}</span>{}{}</span>', main, parts, count)


def relative(moment: datetime, now: datetime) -> str:
    """Say how long ago (or ahead) a moment is, in the largest unit that fits."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < 45:
        return _("just now") if seconds >= 0 else _("in a moment")
    limits = ((3600, 60), (86400, 3600), (86400 * 30, 86400), (86400 * 365, 86400 * 30))
    unit_seconds = next((unit for limit, unit in limits if size < limit), 86400 * 365)
    n = max(1, round(size / unit_seconds))
    words = {
        60: ngettext("%(n)d min", "%(n)d min", n),
        3600: ngettext("%(n)d hour", "%(n)d hours", n),
        86400: ngettext("%(n)d day", "%(n)d days", n),
        86400 * 30: ngettext("%(n)d month", "%(n)d months", n),
        86400 * 365: ngettext("%(n)d year", "%(n)d years", n),
    }[unit_seconds] % {"n": n}
    return _("%(span)s ago") % {"span": words} if seconds >= 0 else _("in %(span)s") % {"span": words}


@register.simple_tag
def ago(moment: datetime | None) -> SafeString | str:
    """Show when something happened, relative, with the absolute time on hover; it updates itself."""
    if moment is None:
        return "–"
    return format_html(
        '<relative-time><time datetime="{}" title="{}">{}</time></relative-time>',
        moment.isoformat(),
        timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z"),
        relative(moment, timezone.now()),
    )


@register.simple_tag
def term(name: str, shown: str = "") -> SafeString:
    """Show a term of the field with its one-line explanation on hover and focus."""
    text = TERMS.get(name.lower())
    if text is None:
        raise template.TemplateSyntaxError(f"the term {name!r} has no explanation in apps/core/terms.py")
    tip = "term-" + hashlib.blake2s(f"{name}{shown}".encode(), digest_size=4).hexdigest()
    return format_html(
        '<span class="term" tabindex="0" aria-describedby="{}">{}'
        '<span class="term-tip" role="tooltip" id="{}">{}</span></span>',
        tip,
        shown or _(name),
        tip,
        _(text),
    )


@register.filter
def duration(seconds: float | None) -> str:
    """Write a length of time in its two largest units: 3725 -> "1 h 2 min"."""
    if seconds is None or _missing(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NNBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NNBSP}min {whole % 60}{NNBSP}s"
    return f"{whole // 3600}{NNBSP}h {whole % 3600 // 60}{NNBSP}min"


@register.inclusion_tag("core/_field.html")
def field(bound: BoundField, hint: str = "") -> dict[str, Any]:
    """Draw a form field with its label, help and errors, connected for screen readers."""
    attributes: dict[str, Any] = {}
    described = [f"{bound.id_for_label}-help"] if (bound.help_text or hint) else []
    if bound.errors:
        described.append(f"{bound.id_for_label}-errors")
        attributes["aria-invalid"] = "true"
    if described:
        attributes["aria-describedby"] = " ".join(described)
    is_check = getattr(bound.field.widget, "input_type", "") == "checkbox"
    is_group = isinstance(bound.field.widget, forms.CheckboxSelectMultiple)
    return {
        "field": bound,
        "widget": bound.as_widget(attrs=attributes),
        "hint": hint,
        "is_check": is_check and not is_group,
        "is_group": is_group,
    }


@register.simple_tag(takes_context=True)
def query_with(context: template.Context, **changes: Any) -> str:
    """Return this page's query string with some keys changed (an empty value removes the key), for filter links."""
    query = context["request"].GET.copy()
    for key, value in changes.items():
        if value in (None, ""):
            query.pop(key, None)
        else:
            query[key] = str(value)
    return f"?{query.urlencode()}"
