"""An endpoint whose replies a test writes, and judges that ask it."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from apps.jobs.drain import drain
from apps.judging.services import judge_create, judging_run_create
from apps.labels.models import Verdict

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


class Scripted(ThreadingHTTPServer):
    """An endpoint whose answer to a request is `say(text of the request, how often it was asked before)`."""

    daemon_threads = True
    request_queue_size = 128  # the default of 5 loses connections on a busy machine

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ScriptedHandler)
        self.asked = Counter()
        self.before = {}  # the messages before the question, by its text
        self.say = lambda text, nth: "[[A]]"
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request, client_address):
        """Clients hang up on some of these, as they should."""


class ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        *before, last = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
        text = last["content"]
        with self.server.lock:
            self.server.before[text] = before
            nth = self.server.asked[text]
            self.server.asked[text] += 1
        said = self.server.say(text, nth)
        if isinstance(said, str):
            message = {"role": "assistant", "content": said}
            said = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": USAGE}
        if callable(said):
            self.close_connection = True
            said(self)
            return
        status, kind, body, more = said if isinstance(said, tuple) else (200, "application/json", json.dumps(said), {})
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def llm(project, endpoint, name="judge", **more):
    return judge_create(project=project, name=name, kind="llm", endpoint=endpoint, criterion="kinder", **more)


def asked(judge, comparisons, **more):
    run = judging_run_create(project=judge.project, judge=judge, comparison_ids=[row.pk for row in comparisons], **more)
    drain(["cpu"], worker_name="w")
    return run


def between(text, label):
    """What a judge sees of an answer: what lies within its fence."""
    found = re.search(rf"=== BEGIN {label} ([0-9a-f]+) ===\n(.*)\n=== END {label} \1 ===", text, re.DOTALL)
    return found[2]


def honest(text, nth=0):
    """Prefer the answer with “good” in it, wherever it stands."""
    return "[[A]]" if "good" in between(text, "ANSWER A") else "[[B]]"


def states(judge):
    return Counter(Verdict.objects.filter(judge=judge).values_list("state", flat=True))
