"""Small drawings of loops. Load with {% load charts_of_loops %}."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.core.line_charts import sparkline

register = template.Library()


@register.simple_tag
def spark(values: Sequence[float | None], of: str) -> SafeString:
    """Draw a figure by round as a small line; `of` names it."""
    return sparkline(values, title=_("%(what)s by round") % {"what": of})
