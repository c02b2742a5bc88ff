"""A model hub on loopback that speaks what huggingface_hub asks of one: names, revisions, files by their hash."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 39 + "1"
LARGE = 1024  # bytes from which a file is kept by its SHA-256, as on the real hub


@dataclass
class SmallHub:
    """`repositories`: name → {file name: content}, of a data set under `datasets/NAME`.

    `asked`: every path, in order. `damaged`: files sent changed.
    """

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)

    def add(self, name: str, folder: Path, **more: bytes) -> None:
        files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        self.repositories[name] = files | {key.replace("__", "."): value for key, value in more.items()}


def _etag(content: bytes) -> str:
    if len(content) > LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _large(content: bytes) -> dict[str, object]:
    return {"lfs": {"oid": _etag(content), "size": len(content), "pointerSize": 1}} if len(content) > LARGE else {}


@contextmanager
def small_hub() -> Iterator[SmallHub]:
    """Serve a hub until the block ends."""
    hub = SmallHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            hub.tokens.append(self.headers.get("Authorization", ""))
            kind = "datasets/" if "datasets" in path.split("/")[1:3] else ""
            parts = path.strip("/").removeprefix("datasets/").split("/")
            name = kind + "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
            files = hub.repositories.get(name)
            revision = parts[5 if parts[0] == "api" else 3] if len(parts) > 3 else ""
            if files is None:
                return self._send(401, b"{}", X_Error_Code="RepoNotFound", Content_Type="application/json")
            if revision not in ("main", COMMIT):
                return self._send(404, b"{}", X_Error_Code="RevisionNotFound", Content_Type="application/json")
            if parts[0] == "api" and parts[4] == "revision":
                said = {
                    "id": name.removeprefix(kind),
                    "modelId": name,
                    "sha": COMMIT,
                    "private": False,
                    "tags": [],
                    "downloads": 0,
                }
                siblings = [{"rfilename": file} for file in files]
                return self._send(200, json.dumps(said | {"siblings": siblings}).encode())
            if parts[0] == "api":
                tree = [
                    {"type": "file", "path": file, "size": len(content), "oid": _etag(content)} | _large(content)
                    for file, content in files.items()
                ]
                return self._send(200, json.dumps(tree).encode())
            content = files.get("/".join(parts[4:]))
            if content is None:
                return self._send(404, b"", X_Error_Code="EntryNotFound")
            sent = content[:-1] + bytes([content[-1] ^ 1]) if "/".join(parts[4:]) in hub.damaged else content
            return self._send(200, sent, ETag=f'"{_etag(content)}"', X_Repo_Commit=COMMIT, X_Linked_ETag=_etag(content))

        do_HEAD = do_GET

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # on a busy machine nobody is turned away

    server = Server(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
