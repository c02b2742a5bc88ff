"""Stored token ids are only valid for the tokenizer that made them."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from apps.core.store import weights
from apps.policies.models import Checkpoint
from apps.samples.models import Completion, SamplingRun
from prefloop.checkpoints import tokenizer_hash


class StoredIds:
    """Returns the ids of answers sampled with the checkpoint's own tokenizer, and none for others.

    An answer without ids is tokenised again from its text for training.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._own = _hash(checkpoint.fingerprint, checkpoint.path)
        runs = SamplingRun.objects.filter(project_id=checkpoint.project_id, checkpoint__isnull=False)
        self._runs: frozenset[int] = frozenset()
        if self._own:
            same = {
                pk
                for pk, fingerprint, path in Checkpoint.objects.filter(project_id=checkpoint.project_id).values_list(
                    "pk", "fingerprint", "path"
                )
                if _hash(fingerprint, path) == self._own
            }
            self._runs = frozenset(runs.filter(checkpoint_id__in=same).values_list("pk", flat=True))

    def __call__(self, row: Completion) -> tuple[int, ...]:
        return tuple(row.token_ids) if row.run_id in self._runs else ()

    def hides_cut(self, row: Completion) -> bool:
        """Whether an answer was cut before it ended and has no ids of which that could be told."""
        return row.is_cut and not self(row)


def _hash(fingerprint: str, path: str) -> str:
    return _hash_of(fingerprint, path, str(settings.STORE_DIR))


@lru_cache(maxsize=1024)
def _hash_of(fingerprint: str, path: str, store: str) -> str:
    """The hash by a checkpoint's fingerprint, which depends on the content, so that a cached value stays valid."""
    return tokenizer_hash(weights().outline(path, fingerprint))
