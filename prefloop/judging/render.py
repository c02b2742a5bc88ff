"""Judge prompts: versioned text templates, filled in one pass, with all text by others inside fences.

A template is text with a `[system]` and a `[user]` part and the placeholders of its mode (`fenced_of`). There is no
template language: a placeholder is replaced by its value and the value is never looked at again. Each value is put
between a BEGIN and an END line that carry a code of this request; a text that contains the code is refused, so that no
answer can close its fence.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from importlib import resources

from prefloop.control_tokens import CONTROL_TOKEN, defuse
from prefloop.judging.modes import JUDGE_MODES, MODES, SCORE_MODES, JudgeMode
from prefloop.types import PrefloopError

Message = dict[str, str]
MOST_TEMPLATE_CHARS = 20_000

_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_PARTS = re.compile(r"\A\s*\[system\]\n(?P<system>.*?)\n\[user\]\n(?P<user>.*?)\s*\Z", re.DOTALL)
_DELIMITER = re.compile(r"[0-9a-f]{16,64}\Z")
_SUSPICIOUS = {
    "verdict-in-answer": re.compile(
        r"\[\[\s*[A-Za-z]\s*(?:[<>=]{1,2}\s*[A-Za-z]\s*)?\]\]|\"verdict\"\s{0,8}:\s{0,8}\"[A-Za-z]\""
    ),
    "score-in-answer": re.compile(r"^[\s*_#>]{0,8}score\s{0,3}:", re.IGNORECASE | re.MULTILINE),
    "fence-in-answer": re.compile(r"===\s{0,3}(?:BEGIN|END)\s"),
    "hidden-characters": re.compile("[\u200b\u200c\u200d\u2060\ufeff\u202a-\u202e\u2066-\u2069]"),
}
SUSPICIONS = frozenset({"control-token", *_SUSPICIOUS})


class TemplateError(PrefloopError):
    """A template that can't be used, with the reason."""


def judge_mode(text: str) -> JudgeMode:
    """The mode of this name. Raises TemplateError."""
    for mode in JUDGE_MODES:
        if mode == text:
            return mode
    raise TemplateError(f"no way of judging {text!r}; there are {', '.join(JUDGE_MODES)}")


def fenced_of(mode: JudgeMode) -> dict[str, str]:
    """The placeholders of a mode's templates whose values come from others, and the labels of their fences."""
    if mode in SCORE_MODES:
        return {"criterion": "CRITERION", "prompt": "REQUEST", "answer": "ANSWER"}
    first, second = MODES[mode].labels
    answers = {"first_shown": f"ANSWER {first}", "second_shown": f"ANSWER {second}"}
    return {"criterion": "CRITERION", "prompt": "REQUEST", **answers}


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template; make one by `template_from_text` or `load_template`."""

    name: str
    version: str  # "1" for ours; a hash of the text for a project's own
    mode: JudgeMode
    system: str
    user: str


def template_from_text(text: str, *, name: str, mode: JudgeMode, version: str | None = None) -> Template:
    """Check a template: both parts, every fenced placeholder exactly once and in [user], no unknown placeholder."""
    if len(text) > MOST_TEMPLATE_CHARS:
        raise TemplateError(f"{name} has more than {MOST_TEMPLATE_CHARS:,} characters")
    text = text.replace("\r\n", "\n")
    parts = _PARTS.match(text)
    if parts is None:
        raise TemplateError(f"{name} needs a line [system] with text below it, then a line [user] with text below it")
    system, user = parts["system"], parts["user"]
    fenced = fenced_of(mode)
    for placeholder in _PLACEHOLDER.findall(text):
        if placeholder not in (*fenced, "delimiter"):
            known = ", ".join(sorted((*fenced, "delimiter")))
            raise TemplateError(f"{name} has the unknown placeholder {{{{{placeholder}}}}}; known: {known}")
    left_over = re.search(r"\{\{.{0,30}|\{%.{0,30}", _PLACEHOLDER.sub("", text))
    if left_over:
        raise TemplateError(f"{name} contains {left_over.group()!r}, which is not a placeholder")
    for placeholder in fenced:
        if _PLACEHOLDER.findall(user).count(placeholder) != 1 or placeholder in _PLACEHOLDER.findall(system):
            raise TemplateError(f"{name} needs {{{{{placeholder}}}}} exactly once in [user] and not in [system]")
    fingerprint = version or hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return Template(name=name, version=fingerprint, mode=mode, system=system, user=user)


def load_template(name: str) -> Template:
    """Return a built-in template by its name. Raises TemplateError."""
    for mode, declared in MODES.items():
        if declared.template == name:
            text = resources.files("prefloop.judging").joinpath("templates", declared.file).read_text("utf-8")
            version = declared.file.split(".")[1].removeprefix("v")
            return template_from_text(text, name=name, mode=mode, version=version)
    raise TemplateError(f"no template named {name!r}; there are {', '.join(one.template for one in MODES.values())}")


def template_text(template: Template) -> str:
    """The text that `template_from_text` reads back to the same template."""
    return f"[system]\n{template.system}\n[user]\n{template.user}"


def new_delimiter(*texts: str, seed: int | None = None) -> str:
    """A code of 32 hexadecimal digits that none of `texts` contains.

    Random without a seed. With one, it is a hash of the seed and the texts, so that the same request reads the same
    again; whoever wrote an answer would have to write its own hash into it.
    """
    counter = 0
    while True:
        if seed is None:
            delimiter = secrets.token_hex(16)
        else:
            parts = [str(seed), str(counter), *texts]
            packed = b"".join(f"{len(part)}:".encode() + part.encode("utf-8", "surrogatepass") for part in parts)
            delimiter = hashlib.sha256(packed).hexdigest()[:32]
        if not any(delimiter in text for text in texts):
            return delimiter
        counter += 1


def fence(label: str, text: str, delimiter: str) -> str:
    return f"=== BEGIN {label} {delimiter} ===\n{text}\n=== END {label} {delimiter} ==="


def suspicions(*texts: str) -> tuple[str, ...]:
    """Which signs in the answers look made for the judge, by name. A person should check labels of such answers."""
    found = ["control-token"] if any(CONTROL_TOKEN.search(text) for text in texts) else []
    return (*found, *(name for name, mark in _SUSPICIOUS.items() if any(mark.search(text) for text in texts)))


def render(
    template: Template, *, prompt: str, first_shown: str, second_shown: str, criterion: str, delimiter: str
) -> list[Message]:
    """The messages that ask a judge to compare two answers, in the order in which they are shown.

    Raises ValueError on a delimiter that is no code or that occurs in one of the texts.
    """
    texts = {"criterion": criterion, "prompt": prompt, "first_shown": first_shown, "second_shown": second_shown}
    return _filled(template, texts, delimiter)


def render_score(template: Template, *, prompt: str, answer: str, criterion: str, delimiter: str) -> list[Message]:
    """The messages that ask a judge to grade one answer; as `render` otherwise."""
    return _filled(template, {"criterion": criterion, "prompt": prompt, "answer": answer}, delimiter)


def _filled(template: Template, texts: dict[str, str], delimiter: str) -> list[Message]:
    if not _DELIMITER.match(delimiter):
        raise ValueError("a delimiter is 16 to 64 hexadecimal digits")
    if any(delimiter in text for text in texts.values()):
        raise ValueError("the delimiter occurs in the material; take another")
    labels = fenced_of(template.mode)
    if labels.keys() != texts.keys():
        raise ValueError(f"a template of mode {template.mode} takes {', '.join(labels)}")
    values = {name: fence(labels[name], defuse(text), delimiter) for name, text in texts.items()}
    values["delimiter"] = delimiter

    def filled(part: str) -> str:
        return _PLACEHOLDER.sub(lambda found: values[found[1]], part)

    return [{"role": "system", "content": filled(template.system)}, {"role": "user", "content": filled(template.user)}]
