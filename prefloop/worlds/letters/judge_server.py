"""The simulated judge: an OpenAI-compatible server that judges letters by their known utility, with adjustable biases.

    python -m prefloop.worlds.letters.judge_server --port 8100 --position-bias 0.3 --length-bias 0.2 --noise 0.5

It replaces a hosted judge, and its model's name, every reason and every response say that it is simulated. It reads the
fences of our judge templates: the criterion, the request and both answers, or the one. It computes

    d = u(A) - u(B) + position_bias + length_bias * (len(A) - len(B)) / 100 + noise * N(0, 1)

with u the utility of its criterion and lengths in characters; A wins if d > 0, a tie is |d| <= tie_margin, and the
log-probs are those of P(A) = sigmoid(d). Of five labels it gives a strong one from |d| > 2. A single answer is graded
by u(A) + length_bias * len(A) / 100 + noise * N(0, 1) on the template's scale. The draw is fixed by the seed and the
texts, as shown (and by the request's own seed above temperature 0). It reads the last turn only: examples teach it
nothing. Standard library only; for this machine, not for
the internet.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import random
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from prefloop.worlds.letters.utility import CRITERIA, Criterion, UtilityParts, count_words, criterion_utility, parts

MODEL = "simulated-judge"
MOST_REQUEST_BYTES = 4_000_000
STRONG = 2.0  # a difference in utility above which one answer is much better
UTILITY_RANGE = (-4.0, 6.0)  # of which the lower end is the lowest grade and the upper end the highest
LABEL_MASS = 0.998  # the rest of the log-probs goes to a token that is neither label

_FIRST_FENCE = re.compile(r"^=== BEGIN CRITERION ([0-9a-f]{16,64}) ===$", re.MULTILINE)


class NotAJudgePrompt(Exception):
    """The request isn't one that this judge can read; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class Biases:
    """All in utility units; `length_bias` for each 100 characters."""

    position_bias: float = 0.0
    length_bias: float = 0.0
    noise: float = 0.0
    tie_margin: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.noise < 0 or self.tie_margin < 0:
            raise ValueError("noise and tie margin are 0 or more")


@dataclass(frozen=True, slots=True)
class Asked:
    """The content of a request. `answer_b` is None if one answer is to be graded; `labels` are the answers' names."""

    criterion: Criterion
    prompt: str
    answer_a: str
    answer_b: str | None
    labels: tuple[str, str] = ("A", "B")


def read_request(text: str) -> Asked:
    """Find the fenced parts. The code is that of the first fence, the criterion's, so an answer can't forge one."""
    found = _FIRST_FENCE.search(text)
    if found is None:
        raise NotAJudgePrompt("no fenced criterion: this simulated judge reads prefloop's pairwise templates only")
    code = found[1]

    def between(label: str) -> str:
        begin, end = f"=== BEGIN {label} {code} ===\n", f"\n=== END {label} {code} ==="
        start = text.find(begin)
        stop = text.find(end, start + len(begin) - 1)
        if start < 0 or stop < 0:
            raise NotAJudgePrompt(f"no fenced {label.lower()}")
        return text[start + len(begin) : stop]

    def answers() -> tuple[str, str | None, tuple[str, str]]:
        if f"=== BEGIN ANSWER {code} ===" in text:
            return between("ANSWER"), None, ("A", "B")
        labels = ("k", "K") if f"=== BEGIN ANSWER k {code} ===" in text else ("A", "B")
        return between(f"ANSWER {labels[0]}"), between(f"ANSWER {labels[1]}"), labels

    wanted = between("CRITERION").lower()
    # The longest first: "very short" contains "short".
    for criterion in sorted(CRITERIA, key=len, reverse=True):
        if criterion in wanted:
            return Asked(criterion, between("REQUEST"), *answers())
    raise NotAJudgePrompt(f"this simulated judge knows the criteria {', '.join(CRITERIA)} only")


def seen_difference(asked: Asked, biases: Biases, *, draw: int | None = None) -> float:
    """The `d` of the module's docstring."""
    gap = criterion_utility(asked.criterion, asked.prompt, asked.answer_a)
    if asked.answer_b is None:
        gap += biases.length_bias * len(asked.answer_a) / 100
    else:
        gap -= criterion_utility(asked.criterion, asked.prompt, asked.answer_b)
        gap += biases.position_bias
        gap += biases.length_bias * (len(asked.answer_a) - len(asked.answer_b)) / 100
    if biases.noise:
        key = json.dumps([biases.seed, draw, asked.criterion, asked.prompt, asked.answer_a, asked.answer_b])
        rng = random.Random(int.from_bytes(hashlib.sha256(key.encode()).digest()))
        gap += biases.noise * rng.gauss(0.0, 1.0)
    return gap


def verdict_of(difference: float, tie_margin: float) -> str:
    if abs(difference) <= tie_margin:
        return "C"
    return "A" if difference > 0 else "B"


def five_label(difference: float, tie_margin: float) -> str:
    """One of Arena-Hard's labels; a strong one from a difference of more than two points."""
    if abs(difference) <= tie_margin:
        return "A=B"
    sign = ">>" if abs(difference) > STRONG else ">"
    return f"A{sign}B" if difference > 0 else f"B{sign}A"


def grade_of(seen: float, lowest: int, highest: int) -> int:
    """The grade of one answer on a scale of whole numbers: UTILITY_RANGE mapped to the scale, cut off at its ends.

    A letter's utility is mostly within the range.
    """
    low, high = UTILITY_RANGE
    share = min(max((seen - low) / (high - low), 0.0), 1.0)
    return round(lowest + share * (highest - lowest))


def label_logprobs(difference: float, labels: tuple[str, str] = ("A", "B")) -> dict[str, float]:
    """Log-probs (nats) of the two labels and of a newline, together 1; first : second is sigmoid(difference)."""

    def log_sigmoid(z: float) -> float:
        return -math.log1p(math.exp(-z)) if z >= 0 else z - math.log1p(math.exp(z))

    mass = math.log(LABEL_MASS)
    return {
        labels[0]: mass + log_sigmoid(difference),
        labels[1]: mass + log_sigmoid(-difference),
        "\n": math.log1p(-LABEL_MASS),
    }


def reason(asked: Asked, verdict: str) -> str:
    """Two or three sentences on the difference between the answers, quoting from both."""
    said = [f"(simulated judge) By the criterion “{asked.criterion}”:"]
    if asked.answer_b is None:
        return " ".join([*said, f"the answer, {_span(asked.answer_a)}, {_traits(asked, asked.answer_a)}."])
    for label, answer in (("A", asked.answer_a), ("B", asked.answer_b)):
        said.append(f"answer {label}, {_span(answer)}, {_traits(asked, answer)}.")
    closing = {"A": "I find answer A better.", "B": "I find answer B better.", "C": "I can't tell them apart."}
    return " ".join([*said, closing[verdict]])


def _span(answer: str) -> str:
    start = " ".join(answer.split())[:40].replace("[[", "[").replace("]]", "]")
    return f"“{start}…”" if start else "which is empty"


def _traits(asked: Asked, answer: str) -> str:
    words = f"has {count_words(answer)} words"
    if asked.criterion == "very short":
        return words
    found: UtilityParts = parts(asked.prompt, answer)
    traits = [words]
    named = {1.0: "names the right person", -1.0: "names the wrong person"}
    thing = {1.0: "keeps to the subject", -1.0: "writes about something else"}
    traits += [text for text in (named.get(found.right_name), thing.get(found.right_thing)) if text]
    if asked.criterion == "kind and correct":
        traits += ["is warm"] * (found.warmth > 0) + ["is rude"] * (found.rudeness < 0)
        traits += ["repeats itself"] * (found.repetition < 0)
    return ", ".join(traits)


def answer_request(body: Any, biases: Biases) -> dict[str, Any]:
    """The chat completion for a request's JSON. Raises NotAJudgePrompt."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or not messages:
        raise NotAJudgePrompt("no messages")
    texts = [str(m["content"]) for m in messages if isinstance(m, dict) and m.get("role") == "user" and "content" in m]
    text = texts[-1] if texts else ""  # earlier turns are examples, which it does not learn from
    rules = "\n".join(str(m.get("content")) for m in messages if isinstance(m, dict) and m.get("role") == "system")
    asked = read_request(text)
    draw = body.get("seed") if body.get("temperature") else None
    difference = seen_difference(asked, biases, draw=draw)
    choice: dict[str, Any] = {"index": 0, "logprobs": None}
    if body.get("logprobs"):
        if asked.answer_b is None:
            raise NotAJudgePrompt("this simulated judge grades in words only")
        logprobs = label_logprobs(difference, asked.labels)
        said = asked.labels[0] if difference >= 0 else asked.labels[1]
        n_top = body.get("top_logprobs")
        ranked = sorted(logprobs.items(), key=lambda item: -item[1])[: n_top if isinstance(n_top, int) else 0]
        top = [{"token": token, "logprob": logprob, "bytes": list(token.encode())} for token, logprob in ranked]
        entry = {"token": said, "logprob": logprobs[said], "bytes": list(said.encode()), "top_logprobs": top}
        choice["logprobs"] = {"content": [entry], "refusal": None}
        choice["finish_reason"] = "length"
    else:
        verdict = verdict_of(difference, biases.tie_margin)
        if asked.answer_b is None:
            lowest, highest = (1, 10) if "from 1 to 10" in rules else (0, 5)
            ending = f"Score: {grade_of(difference, lowest, highest)}"
        else:
            ending = f"[[{five_label(difference, biases.tie_margin) if '[[A>>B]]' in rules else verdict}]]"
        said = f"{reason(asked, verdict)}\n{ending}"
        if '"verdict":' in rules:
            said = json.dumps({"reasoning": reason(asked, verdict), "verdict": verdict})
        choice["finish_reason"] = "stop"
    choice["message"] = {"role": "assistant", "content": said}
    n_read, n_said = count_words(text), count_words(said)
    name = hashlib.sha256(json.dumps([body, biases.seed], sort_keys=True).encode()).hexdigest()[:16]
    return {
        "id": f"simulated-{name}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "system_fingerprint": "simulated",
        "choices": [choice],
        "usage": {"prompt_tokens": n_read, "completion_tokens": n_said, "total_tokens": n_read + n_said},
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], biases: Biases) -> None:
        super().__init__(address, _Handler)
        self.biases = biases


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "prefloop-simulated-judge"
    disable_nagle_algorithm = True  # headers and body are two writes; Nagle would hold the second for 40 ms
    timeout = 60
    server: _Server

    def do_GET(self) -> None:
        if self.path.rstrip("/") == "/v1/models":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "simulated"}
            self._send(200, {"object": "list", "data": [model]})
        else:
            self._refuse(404, "no such page; there are /v1/models and /v1/chat/completions")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_REQUEST_BYTES:
            self.close_connection = True
            self._refuse(413, f"a body of at most {MOST_REQUEST_BYTES} bytes, with its Content-Length")
            return
        said = self.rfile.read(int(length))
        if self.path.rstrip("/") != "/v1/chat/completions":
            self._refuse(404, "no such page; there are /v1/models and /v1/chat/completions")
            return
        try:
            answer = answer_request(json.loads(said), self.server.biases)
        except (ValueError, RecursionError):
            self._refuse(400, "the body is no JSON")
        except NotAJudgePrompt as error:
            self._refuse(400, str(error))
        else:
            self._send(200, answer)

    def _refuse(self, status: int, message: str) -> None:
        self._send(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Simulated", "true")
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a batch makes thousands of requests."""


@contextlib.contextmanager
def running_judge_server(
    *,
    position_bias: float = 0.0,
    length_bias: float = 0.0,
    noise: float = 0.0,
    tie_margin: float = 0.0,
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Serve from a thread of this process, by default on a free port; gives the base URL (`http://127.0.0.1:N/v1`)."""
    biases = Biases(position_bias, length_bias, noise, tie_margin, seed)
    server = _Server((host, port), biases)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="simulated-judge", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="judge_server", description="A simulated, OpenAI-compatible judge of letters."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100, help="0 takes a free one")
    parser.add_argument("--position-bias", type=float, default=0.0, help="utility added to the answer shown first")
    parser.add_argument("--length-bias", type=float, default=0.0, help="utility added for each 100 characters")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation, in utility units")
    parser.add_argument("--tie-margin", type=float, default=0.0, help="a difference up to this is a tie")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        biases = Biases(options.position_bias, options.length_bias, options.noise, options.tie_margin, options.seed)
        server = _Server((options.host, options.port), biases)
    except (OSError, ValueError) as error:
        parser.exit(2, f"judge_server: {error}\n")
    with server:
        sys.stdout.write(f"simulated judge on http://{options.host}:{server.server_address[1]}/v1 ({biases})\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
