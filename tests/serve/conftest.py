"""A running server in this process, with a real worker on crumb: started once for all tests of this folder."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from fastapi.routing import APIRoute
from PIL import Image
from starlette.routing import Match
from starlette.testclient import TestClient

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.app import make_app, with_middleware
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.server import Server
from bakehouse.serve.settings import ServeSettings
from bakehouse.serve.store.store import open_store
from bakehouse.serve.store.tokens import NO_QUOTA, Quota, Scope
from bakehouse.serve.work.engine import EngineSettings
from bakehouse.serve.work.served_models import ModelToServe
from bakehouse.serve.work.worker_process import WorkerSettings
from tests.publish.hub_server import TOKEN, Hub
from tests.serve.browser import browser as browser
from tests.serve.browser import new_page as new_page

WITHOUT_TEXT_DETECTION = Path(__file__).parent / "without_text_detection"
ON_CPU = EngineSettings(workers=(WorkerSettings(device="cpu"),), queue=32)


def png(size: tuple[int, int] = (64, 64), color: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def png_text(size: tuple[int, int] = (64, 64), color: tuple[int, int, int] = (200, 30, 30)) -> str:
    return base64.b64encode(png(size, color)).decode()


def image_in(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


@dataclass
class Running:
    """A server, and callers with tokens."""

    app: Any
    client: TestClient
    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def server(self) -> Server:
        return self.app.state.server

    def new_token(self, name: str, *scopes: Scope, quota: Quota = NO_QUOTA) -> str:
        _, text = self.server.store.tokens.add(name, frozenset(scopes or ("draw",)), quota)
        return text

    def headers(self, token: str = "draw") -> dict[str, str]:
        """The header of a shared token (`read`, `draw`, `other`, `admin`), or of a token's text."""
        return {"Authorization": f"Bearer {self.tokens.get(token, token)}"}

    def get(self, path: str, token: str = "draw", **options: Any) -> Any:
        return self.client.get(path, headers={**self.headers(token), **options.pop("headers", {})}, **options)

    def post(self, path: str, body: Any = None, token: str = "draw", **options: Any) -> Any:
        headers = {**self.headers(token), **options.pop("headers", {})}
        return self.client.post(path, json=body, headers=headers, **options)

    def delete(self, path: str, token: str = "draw") -> Any:
        return self.client.delete(path, headers=self.headers(token))


def check_described(method: str, path: str, status: int, media_type: str | None, body: Callable[[], bytes]) -> None:
    """Check an answer against what OpenAPI says of it, if it says something."""
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    route = next((one for one in OWN.router.routes if one.matches(scope)[0] is Match.FULL), None)
    described = route.responses.get(status) if isinstance(route, APIRoute) else None
    if described and media_type == "application/json":
        values = parse_json(body())
        read = described["model"].model_validate(values)
        assert read.model_dump(mode="json", exclude_unset=True) == values, "the description would answer something else"


def _check(answer: Any) -> None:
    asked = answer.request
    check_described(asked.method, asked.url.path, answer.status_code, answer.headers.get("content-type"), answer.read)


def start(folder: Path, **settings: Any) -> Iterator[Running]:
    """A running server with a token for each scope."""
    with open_store(folder) as store:
        names: tuple[tuple[str, Scope], ...] = (
            ("read", "read"), ("draw", "draw"), ("other", "draw"), ("train", "train"), ("admin", "admin"),
        )  # fmt: skip
        tokens = {name: store.tokens.add(name, frozenset({scope}))[1] for name, scope in names}
    chosen = ServeSettings(
        **{"models": (ModelToServe("crumb", "crumb"),), "engine": ON_CPU, "folder": folder, "grace": 1.0, **settings}
    )
    app = make_app(chosen)
    with TestClient(with_middleware(app, chosen), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        client.event_hooks = {"response": [_check]}
        yield Running(app, client, folder, tokens)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from start(tmp_path_factory.mktemp("serve"))


class Served:
    """`bakehouse serve` as a process of its own, on a machine without a detector of text."""

    def __init__(self, folder, *options: str) -> None:
        command = [sys.executable, "-m", "bakehouse", "serve", "--port", "0", "--device", "cpu", "--json"]
        self.folder, self.log = folder, folder / "log"
        path = os.pathsep.join(filter(None, [str(WITHOUT_TEXT_DETECTION), os.environ.get("PYTHONPATH")]))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(folder), *options],
                stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.ready = parse_json(line)

    def request(self, method: str, path: str, body=None):
        import requests

        headers = {"Authorization": f"Bearer {self.ready['token']}"} if self.ready["token"] else {}
        answer = requests.request(method, self.ready["url"] + path, json=body, headers=headers, timeout=60)
        asked, media_type = unquote(urlsplit(path).path), answer.headers.get("content-type")
        check_described(method, asked, answer.status_code, media_type, lambda: answer.content)
        return answer

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode, self.log.read_text()


@contextlib.contextmanager
def served_beside(hub: Hub, folder: Path) -> Iterator[Served]:
    """`bakehouse serve` with data, cache and Hub of its own, and a token for that Hub in its environment."""
    asked = {
        "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder / "hub"), "BAKEHOUSE_DATA": str(folder / "data"),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as ours:
        for name, value in asked.items():
            ours.setenv(name, value)
        served = Served(folder)
    try:
        yield served
    finally:
        served.end(signal.SIGTERM)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`bakehouse serve` as its own process, for clients that need a network address."""
    served = Served(tmp_path_factory.mktemp("live"))
    try:
        yield served
    finally:
        served.end(signal.SIGTERM)
