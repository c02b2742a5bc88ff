"""Reference log-probs, computed once for stored data and kept by content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefloop.policy.batches import PackItem
from prefloop.policy.loading import Policy
from prefloop.policy.scoring import DEFAULT_TOKEN_BUDGET, score_groups
from prefloop.types import PrefloopError


class MissingReference(PrefloopError):
    """A completion has no reference log-prob in the cache."""


class ReferenceCache:
    """Log-prob sums by content hash of (checkpoint with its tokenizer and template, prompt ids, completion ids).

    One file of JSON lines a checkpoint; a line torn by a crash is dropped, and its value computed again.
    """

    def __init__(self, directory: str | Path | None, *, fingerprint: str | None = None) -> None:
        """Without a directory nothing is stored: another process does that."""
        self._directory = None if directory is None else Path(directory)
        self._fingerprint = ""
        self._values: dict[str, float] = {}
        if fingerprint is not None:
            self._open(fingerprint)

    def fill(self, policy: Policy, items: Sequence[PackItem], *, token_budget: int = DEFAULT_TOKEN_BUDGET) -> int:
        """Compute and store what is missing; returns how many log-probs were computed."""
        if not policy.fingerprint:
            raise ValueError("a policy without a fingerprint cannot be cached: save and load it first")
        if not self._fingerprint:
            self._open(policy.fingerprint)
        if policy.fingerprint != self._fingerprint:
            raise ValueError("this cache belongs to another checkpoint")
        todo: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for item in items:
            for completion in item.completions:
                key = self._key(item.prompt_ids, completion)
                if key not in self._values:
                    todo[key] = (item.prompt_ids, completion)
        by_prompt: dict[tuple[int, ...], list[str]] = {}
        for key, (prompt, _) in todo.items():
            by_prompt.setdefault(prompt, []).append(key)
        missing = [PackItem(prompt, tuple(todo[key][1] for key in keys)) for prompt, keys in by_prompt.items()]
        scores = score_groups(policy, missing, token_budget=token_budget)
        self.add(
            {
                key: value
                for keys, values in zip(by_prompt.values(), scores, strict=True)
                for key, value in zip(keys, values, strict=True)
            }
        )
        return len(todo)

    def values(self) -> dict[str, float]:
        """Return all that is known, by the hash of its content."""
        return dict(self._values)

    def add(self, values: Mapping[str, float]) -> None:
        """Store values that were computed elsewhere, under the same hashes; what is known already stays."""
        new = {key: value for key, value in values.items() if key not in self._values}
        self._values |= new
        if new and self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
            with self._file(self._directory).open("a", encoding="utf-8") as stream:
                stream.write("".join(json.dumps({"key": key, "logp_sum": new[key]}) + "\n" for key in new))
                stream.flush()
                os.fsync(stream.fileno())

    def get(self, items: Sequence[PackItem]) -> list[list[float]]:
        """Return the stored sums in the order of `items`; raises MissingReference if any is not there."""
        out = []
        for place, item in enumerate(items):
            row = []
            for index, completion in enumerate(item.completions):
                value = self._values.get(self._key(item.prompt_ids, completion))
                if value is None:
                    raise MissingReference(f"no reference log-prob for completion {index} of item {place}")
                row.append(value)
            out.append(row)
        return out

    def _open(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        if self._directory is None:
            return
        file = self._file(self._directory)
        if not file.exists():
            return
        content = file.read_bytes()
        if content and not content.endswith(b"\n"):  # torn by a crash: cut, so that the next line starts cleanly
            content = content[: content.rfind(b"\n") + 1]
            with file.open("r+b") as stream:
                stream.truncate(len(content))
        for line in content.splitlines():
            row = json.loads(line)
            self._values[row["key"]] = float(row["logp_sum"])

    def _file(self, directory: Path) -> Path:
        return directory / f"reference-{hashlib.sha256(self._fingerprint.encode()).hexdigest()[:32]}.jsonl"

    def _key(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> str:
        # the fingerprint covers weights, tokenizer and chat template
        content = json.dumps([self._fingerprint, list(prompt_ids), list(completion_ids)], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()
