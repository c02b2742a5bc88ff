"""Read a model from a directory, a GGUF file, or a repository of a model hub. Imports no torch.

    source = read_source("hf:ORG/NAME@REVISION")
    source.look()                        # its facts, before anything is copied, converted or fetched
    source.unpack(directory, told=...)   # a plain model directory: safetensors, JSON, tokenizer; returns its origin

A directory is copied. A GGUF file is dequantised by a separate process, because transformers can neither train nor save
a quantised model. A repository is downloaded by a separate process, because all other processes run with the hub
switched off; only safetensors, JSON and tokenizer files are requested. The caller checks the unpacked directory with
`prefloop.checkpoints.check_checkpoint_dir`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prefloop.checkpoints import MANIFEST, check_checkpoint_dir, count_parameters
from prefloop.confined import Limits, call
from prefloop.model_sources import gguf_header, hub
from prefloop.model_sources.child import NoModel, run_child
from prefloop.models import ModelFacts, facts_of, model_facts

Told = Callable[[int, int, str], None]  # done, total, what is being done; may raise to stop
HUB_PREFIX = "hf:"
GGUF_SUFFIX = ".gguf"


class Source(Protocol):
    """A model that is not in the store yet. `name`: what a person called it."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str:
        """What `read_source` makes this source of."""

    def look(self) -> ModelFacts:
        """Say what the model is and takes, without loading it. Raises UnsafeCheckpoint, UnloadableModel, NoModel."""

    def unpack(self, into: Path, *, told: Told) -> dict[str, Any]:
        """Write a model directory to `into`, which is not there yet; return what the manifest keeps of its origin."""


@dataclass(frozen=True, slots=True)
class _OnDisk:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def address(self) -> str:
        return str(self.path)


class Directory(_OnDisk):
    """A directory as `save_pretrained` writes it."""

    @property
    def n_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def look(self) -> ModelFacts:
        check_checkpoint_dir(self.path)
        return model_facts(self.path, n_parameters=count_parameters(self.path))

    def unpack(self, into: Path, *, told: Told) -> dict[str, Any]:
        self.look()  # an adapter alone, code or pickles are refused before anything is copied
        told(0, 1, "copying")
        with _whole_or_nothing(into):
            shutil.copytree(self.path, into, symlinks=False, ignore=shutil.ignore_patterns(MANIFEST, ".*"))
        return {"imported_from": self.name}


class GgufFile(_OnDisk):
    """One file of llama.cpp's format, with the tokenizer and the chat template in it."""

    def _header(self) -> dict[str, Any]:
        if not self.path.is_file():
            raise NoModel(f"there is no file {self.path}")
        size = self.path.stat().st_size
        room = Limits(memory_mb=1024 + (size >> 20), cpu_seconds=120)  # the whole file is mapped
        header: dict[str, Any] = call(gguf_header.read, str(self.path), limits=room, what=self.name)
        return header

    def look(self) -> ModelFacts:
        header = self._header()
        return facts_of(
            header["architecture"],
            n_parameters=header["n_parameters"],
            n_bytes=header["n_parameters"] * 4,  # what it becomes in the store
            has_tokenizer=header["has_tokenizer"],
            has_template=header["has_template"],
            has_end=header["has_end"],
            config=header["config"],
            notes=[
                f"its weights are quantised ({header['quantised']}): they are imported as the numbers they stand for"
            ]
            if header["quantised"]
            else [],
        )

    def unpack(self, into: Path, *, told: Told) -> dict[str, Any]:
        header = self._header()
        with _whole_or_nothing(into):
            run_child("prefloop.model_sources.gguf_convert", [str(self.path), str(into)], told=told, what=self.name)
        return {"imported_from": self.name, "quantised": header["quantised"] or "not"}


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the hub that HF_ENDPOINT names (huggingface.co by default), at one revision."""

    repository: str
    revision: str

    @property
    def name(self) -> str:
        return f"{HUB_PREFIX}{self.repository}@{self.revision}"

    @property
    def address(self) -> str:
        return self.name

    def look(self) -> ModelFacts:
        said = self._ask("--look", told=lambda done, total, what: None)
        commit = said.pop("commit")
        notes = [f"the revision {self.revision} is the commit {commit} now"] if self.revision != commit else []
        return facts_of(said.pop("architecture"), **said, notes=notes)

    def unpack(self, into: Path, *, told: Told) -> dict[str, Any]:
        with _whole_or_nothing(into):
            commit = self._ask(str(into), told=told)["commit"]
        return {"imported_from": f"{HUB_PREFIX}{self.repository}", "revision": commit}

    def _ask(self, into: str, *, told: Told) -> dict[str, Any]:
        asked = [self.repository, self.revision, into]
        return run_child("prefloop.model_sources.hub_download", asked, told=told, what=self.name, online=True)


@contextmanager
def _whole_or_nothing(into: Path) -> Iterator[None]:
    """Remove the directory if what writes it fails or is interrupted."""
    try:
        yield
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise


def read_source(text: str | Path) -> Source:
    """Read what a person named: `hf:ORG/NAME@REVISION`, a file that ends in .gguf, else a directory.

    Whether the path may be read is for the caller to say. Raises NoModel for a hub's name that can't be one.
    """
    named = str(text).strip()
    if named.startswith(HUB_PREFIX):
        return HubModel(*hub.read_name(named.removeprefix(HUB_PREFIX)))
    path = Path(named).absolute()  # for processes that stand in another directory
    return GgufFile(path) if path.suffix.lower() == GGUF_SUFFIX and not path.is_dir() else Directory(path)
