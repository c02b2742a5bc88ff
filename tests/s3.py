"""A real S3 server on loopback (moto's), which can be told to be unavailable, slow, or to give half of an object."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BUCKET = "prefloop"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3:
    """The server. `ask(method, path)` is called before each request, and returns what is wrong with it."""

    def __init__(self):
        # here, and not in every process that collects the tests: they take seconds to import
        import boto3
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        quiet = type("Quiet", (WSGIRequestHandler,), {"log": lambda self, kind, message, *args: None})
        self._prefix = uuid.uuid4().hex[:8]  # no other server of this process has the same URL
        self.url = f"s3://{BUCKET}/{self._prefix}"
        self._inner = DomainDispatcherApplication(create_backend_app)
        self.asked = Counter()
        self.ask: Callable[[str, str], str] = lambda method, path: ""
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=quiet)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )

    @property
    def environment(self):
        return {**KEYS, "AWS_ENDPOINT_URL": self.address}

    def _answer(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.asked[method, path] += 1
        wrong = self.ask(method, path)
        if wrong == "unavailable":
            start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", "0")])
            return [b""]
        body = b"".join(self._inner(environ, start_response))
        if wrong == "half" and method == "GET":  # the connection ends in the middle
            return [body[: len(body) // 2]]
        if wrong == "other" and method == "GET":  # as long as it should be
            return [bytes(len(body))]
        return [body]

    def held(self, below=""):
        """The keys of the objects below the URL, or below a folder of it."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{self._prefix}/{below}")
        return [one["Key"] for one in found.get("Contents", ())]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def opened_s3() -> Iterator[S3]:
    """A server with an empty bucket."""
    server = S3()
    server.client.create_bucket(Bucket=BUCKET)
    try:
        yield server
    finally:
        server.ask = lambda method, path: ""
        for one in server.client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            server.client.delete_object(Bucket=BUCKET, Key=one["Key"])
        server.client.delete_bucket(Bucket=BUCKET)
        server.close()
