"""The studies, each declared once: what it runs, and what it claims."""

from __future__ import annotations

from prefloop.studies.catalogue import gap, goodhart, newer, sources, tabular
from prefloop.studies.declaration import Study
from prefloop.types import PrefloopError

_ALL = (*tabular.STUDIES, *gap.STUDIES, *goodhart.STUDIES, *sources.STUDIES, *newer.STUDIES)
STUDIES: dict[str, Study] = {study.name: study for study in _ALL}


class UnknownStudy(PrefloopError):
    """There is no study of this name."""


def get_study(name: str) -> Study:
    """Find a study. Raises UnknownStudy."""
    if name not in STUDIES:
        raise UnknownStudy(f"no study {name!r}; there are: {', '.join(STUDIES)}")
    return STUDIES[name]
