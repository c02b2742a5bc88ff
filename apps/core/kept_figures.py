"""The cache of figures that pages calculate, apart from the one in which failed sign-ins are counted.

Without Redis both lie in the memory of the process and hold so many entries: figures must not push out counts.
"""

from __future__ import annotations

from django.core.cache import caches
from django.utils.connection import ConnectionProxy

cache = ConnectionProxy(caches, "figures")
