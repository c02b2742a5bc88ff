"""A data set by its name on a hub: `hf:ORG/NAME[@REVISION][:CONFIG][:SPLIT]`.

    data = read_address("hf:acme/pairs@v1:default:train")
    fetched = data.fetch(directory, told=lambda done, total, what: None, most_bytes=1 << 30)
    fetched.path          # a file, or a directory of the parts of one table; prefloop.formats reads either
    fetched.commit        # what the revision was then

Only tables are fetched (JSON Lines, JSON, CSV, Parquet): a repository's scripts are never run. The fetching is a
process of its own, since the product itself is kept away from every hub.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefloop.model_sources import HUB_PREFIX
from prefloop.model_sources.child import NoModel, run_child
from prefloop.model_sources.hub import read_name
from prefloop.types import PrefloopError

Told = Callable[[int, int, str], None]


class NoData(PrefloopError):
    """A data set that a hub does not have, or that can't be fetched."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One split of a data set on this disk, and which it is."""

    path: Path
    name: str  # what a person calls it, with the ending of its files
    commit: str
    config: str
    split: str


@dataclass(frozen=True, slots=True)
class HubData:
    """A data set of the hub that HF_ENDPOINT names (huggingface.co by default), at one revision.

    `words` name its configuration and its split, either, or neither.
    """

    repository: str
    revision: str
    words: tuple[str, ...]

    @property
    def address(self) -> str:
        return ":".join([f"{HUB_PREFIX}{self.repository}@{self.revision}", *self.words])

    def fetch(self, into: Path, *, told: Told, most_bytes: int) -> Fetched:
        """Copy the files of the split to `into`, an empty directory. `told` hears of bytes done and in all.

        Raises NoData: no such data set or split, no table in it, or more than `most_bytes`.
        """
        asked = [self.repository, self.revision, str(into), str(int(most_bytes)), *self.words]
        try:
            said = run_child("prefloop.hub_data.download", asked, told=told, what=self.address, online=True)
        except NoModel as error:
            raise NoData(str(error)) from error
        files = sorted(into.iterdir())
        name = "-".join([self.repository.replace("/", "-"), *dict.fromkeys([said["config"], said["split"]])])
        ending = "".join(files[0].suffixes[-2:] if files[0].suffix == ".gz" else files[0].suffixes[-1:])
        one = len(files) == 1
        return Fetched(
            files[0] if one else into, name + (ending if one else ""), said["commit"], said["config"], said["split"]
        )


def is_address(text: str) -> bool:
    return text.strip().startswith(HUB_PREFIX)


def read_address(text: str) -> HubData:
    """Read `hf:ORG/NAME[@REVISION][:CONFIG][:SPLIT]`; without a revision it is `main`. Raises NoData."""
    name, *words = text.strip().removeprefix(HUB_PREFIX).split(":")
    if not is_address(text) or len(words) > 2 or not all(words) or any(len(word) > 200 for word in words):
        raise NoData(f"{text[:200]!r} is not a hub's data set: write hf:ORG/NAME, and :CONFIG and :SPLIT if needed")
    try:
        return HubData(*read_name(name), tuple(words))
    except NoModel as error:
        raise NoData(str(error)) from error
