"""A word that stands in everything of somebody or something, and where it still is after the deletion."""

from __future__ import annotations

CANARY = "xylophone-canary"


def left_in_tables() -> list[str]:
    """Name the tables in whose rows the canary still is."""
    from django.apps import apps

    models = apps.get_models(include_auto_created=True)
    return [model._meta.label for model in models if CANARY in repr(list(model._base_manager.values_list()))]


def left_in_files(folder) -> list[str]:
    """Name the files below a folder in which the canary still is."""
    return [path.name for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
