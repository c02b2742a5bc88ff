"""A scripted judge behind an endpoint: it counts what it is asked, holds, lies, or says what it is told to."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint that counts what it is asked, and prefers what it is told to, holds, or lies."""

    daemon_threads = True
    request_queue_size = 128  # the default of 5 loses connections on a busy machine

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), ScriptedHandler)
        self.asked: Counter[str] = Counter()  # by the request's own text: one for each comparison and order
        self.html = False
        self.usage: dict[str, int] | None = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        self.prefers: list[tuple[str, str]] = []  # (better, worse); "A" for a pair that is not among them
        self.hold_after: int | None = None  # answer so many, then none until `go`
        self.go = threading.Event()
        self.closed = False
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def n_asked(self) -> int:
        return sum(self.asked.values())

    def note(self, request: str) -> int:
        with self._lock:
            self.asked[request] += 1
            return self.n_asked

    def verdict(self, request: str) -> str:
        text = json.loads(request)["messages"][-1]["content"]
        pair = next((pair for pair in self.prefers if pair[0] in text and pair[1] in text), None)
        return "A" if pair is None or text.index(pair[0]) < text.index(pair[1]) else "B"

    def close(self) -> None:
        """Go down: also for connections that are open, whose handlers would go on answering."""
        self.closed = True
        self.go.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that was killed while it waited: what these tests are about."""


class ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.server.closed:
            self.close_connection = True
            return
        number = self.server.note(said)
        if self.server.hold_after is not None and number > self.server.hold_after:
            self.server.go.wait(120)
        if self.server.closed:
            self.close_connection = True
            return
        message = {"role": "assistant", "content": f"So: [[{self.server.verdict(said)}]]"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {} if self.server.usage is None else {"usage": self.server.usage}
        kind = "application/json"
        body = json.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], **usage})
        if self.server.html:
            kind, body = "text/html", "<html><body>Welcome to the proxy. Please sign in.</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args) -> None:
        """Say nothing."""
