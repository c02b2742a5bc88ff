"""Names of repositories on a model hub, and which files are requested: safetensors, JSON and tokenizers only."""

from __future__ import annotations

import re

from prefloop.model_sources.child import NoModel

WANTED = ("model*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model", "LICENSE*")
SMALL = ("*.json", "*.jinja")  # enough to show what the model is
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9._/-]{{1,200}}))?")


def read_name(text: str) -> tuple[str, str]:
    """Split ORG/NAME@REVISION; without a revision it is `main`, whose commit is kept. Raises NoModel."""
    found = _NAME.fullmatch(text.strip())
    if found is None or ".." in text or "--" in text:
        raise NoModel(f"{text[:200]!r} is not a hub's name: write hf:ORG/NAME or hf:ORG/NAME@REVISION")
    return found["repository"], found["revision"] or "main"
