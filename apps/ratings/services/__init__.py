"""Everything that writes here: seats, leases, ratings and the comparisons that follow from them."""

from __future__ import annotations

from apps.ratings.services.flag import flag_create, flag_withdraw
from apps.ratings.services.gold import rating_gold_mark, rating_gold_unmark
from apps.ratings.services.rate import (
    CHOICES,
    BadRating,
    Rated,
    Stored,
    rating_and_next,
    rating_create,
    rating_undo,
)
from apps.ratings.services.seats import (
    PREFETCH,
    SHOWN_FIRST,
    answers_made,
    seats_lease,
    seats_settle,
)

__all__ = [
    "CHOICES",
    "PREFETCH",
    "SHOWN_FIRST",
    "BadRating",
    "Rated",
    "Stored",
    "answers_made",
    "flag_create",
    "flag_withdraw",
    "rating_and_next",
    "rating_create",
    "rating_gold_mark",
    "rating_gold_unmark",
    "rating_undo",
    "seats_lease",
    "seats_settle",
]
