"""Import and export keep no rows of their own: an import's batch lives with the prompts it brings (apps.prompts)."""

from __future__ import annotations
