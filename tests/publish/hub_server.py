"""A small server with the Hub's routes: create, preupload, LFS, commit, files; it remembers what it was asked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "verysecret" * 3


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)
    commits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}"


class Hub:
    """Repositories, objects of large files, and a log of requests."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.log: list[str] = []
        self.refuse_after: int | None = None
        """Large files that are taken before the server begins to answer 507."""
        self.held: set[str] = set()
        """Files that are not sent before `released` is set."""
        self.released = threading.Event()
        self.url = ""

    def oid(self, repo: Repo, path: str) -> str | None:
        content = repo.files.get(path)
        if content is None:
            return None
        if path in repo.lfs:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".png", ".bin"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _begin(self) -> str | None:
        path = self.path.partition("?")[0]
        self.hub.log.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/objects/"):
            self._body()
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
            return None
        return path

    def do_PUT(self) -> None:
        path, body = self._begin(), self._body()
        if path is None:
            return
        if self.hub.refuse_after is not None and len(self.hub.puts) >= self.hub.refuse_after:
            self._answer(400, {"error": "out of space"})
            return
        oid = path.removeprefix("/objects/")
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self.hub.puts.append(oid)
        self._answer(200)

    def do_GET(self) -> None:
        path = self._begin()
        if path is None:
            return
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/\w+)?", path):
            repo = self.hub.repos.get(found[1])
            if repo is None:
                self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
                return
            files = [{"rfilename": name, "size": len(content)} for name, content in repo.files.items()]
            self._answer(200, {"_id": "1", "id": found[1], "private": repo.private, "sha": repo.sha, "tags": [],
                               "siblings": files, "downloads": 0, "likes": 0})  # fmt: skip
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/\w+", path):
            repo = self.hub.repos[found[1]]
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": self.hub.oid(repo, name)}
                for name, content in repo.files.items()
            ]
            self._answer(200, rows)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            repo = self.hub.repos[found[1]]
            content = repo.files.get(found[2])
            if content and found[2] in self.hub.held and self.command == "GET":
                self.hub.released.wait(60)
            if content is None:
                self._answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=repo.sha)
                return
            self._answer(200, content, X_Repo_Commit=repo.sha, ETag=f'"{self.hub.oid(repo, found[2])}"')
        else:
            self._answer(404, {"error": f"no route {path}"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path, body = self._begin(), self._body()
        if path is None:
            return
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.repos[name] = Repo(private=asked.get("private") or asked.get("visibility") == "private")
            self._answer(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": "1"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            self._preupload(self.hub.repos[found[1]], json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": f"no route {path}"})

    def _preupload(self, repo: Repo, asked: dict[str, Any]) -> None:
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if is_large(one["path"]) else "regular",
                "shouldIgnore": False,
                "oid": self.hub.oid(repo, one["path"]),
            }
            for one in asked["files"]
        ]
        self._answer(200, {"files": files})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            actions = {"upload": {"href": f"{self.hub.url}/objects/{one['oid']}", "header": {}}}
            objects.append({**one, **({} if one["oid"] in self.hub.objects else {"actions": actions})})
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repo, written = self.hub.repos[name], []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
                written.append(value["path"])
            elif line["key"] == "lfsFile":
                repo.files[value["path"]] = self.hub.objects[value["oid"]]
                repo.lfs.add(value["path"])
                written.append(value["path"])
        repo.commits.append({"title": lines[0]["value"]["summary"], "files": written})
        url = f"{self.hub.url}/{name}/commit/{repo.sha}"
        self._answer(200, {"success": True, "commitOid": repo.sha, "commitUrl": url, "hookOutput": ""})


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
