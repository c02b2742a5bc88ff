"""What apps do every few seconds in each worker, beside its jobs: small, and safe to do several times at once."""

from __future__ import annotations

import datetime as dt

from apps.core.listeners import Listeners

TICKS: Listeners[dt.datetime] = Listeners()  # called with the database's time
