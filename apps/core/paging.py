"""Pages of a list of any length, without counting all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

if TYPE_CHECKING:
    _Pages = Paginator[Any]
else:
    _Pages = Paginator

AHEAD = 900  # rows behind the page shown that are looked for


class PagesAhead(_Pages):
    """Counts no further than some rows behind the page that is asked for; `is_cut` says that there are more."""

    def __init__(self, rows: QuerySet[Any], per_page: int) -> None:
        super().__init__(rows, per_page)
        self._rows = rows
        self._bound = AHEAD

    def get_page(self, number: Any) -> Page[Any]:
        wanted = str(number or 1)
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
            self._bound = int(wanted) * self.per_page + AHEAD
        return super().get_page(number)

    @cached_property
    def _counted(self) -> int:
        return self._rows.order_by()[: self._bound + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._counted, self._bound)

    @property
    def is_cut(self) -> bool:
        return self._counted > self._bound
