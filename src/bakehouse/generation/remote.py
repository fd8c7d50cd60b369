"""Images drawn by a server of `bakehouse serve`, as if it were a model: `http://host:port/MODEL`."""

from __future__ import annotations

import base64
import contextlib
import io
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Noted, OnEvent, Previewed, Progress, Warned, ignore
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.generation.infotext import Infotext
from bakehouse.generation.request import GeneratedImage, ImageRequest

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
"""Without a word; a server that works sends one at least every 15 seconds."""
_TRIES = 5
"""Connections to follow one job: it goes on while the server is started again."""
_PAUSE_SECONDS = 2.0
_AT_ONCE = 8
"""Jobs that are queued ahead, so that the server can put their pictures into batches."""
_PARTS = ("image", "inpaint", "hires", "regions")


@dataclass(frozen=True)
class RemoteModel:
    """A model of a server.

    Args:
        url: the server: `http://127.0.0.1:7860`.
        model: its name there; None: the server's first.
        token: sent as `Authorization: Bearer`; None: none.
    """

    url: str
    model: str | None = None
    token: str | None = None

    @classmethod
    def parse(cls, text: str, token: str | None = None) -> RemoteModel:
        """Return what `http://host:port/MODEL` says.

        Raises:
            UsageError: there is no host in it, or a password.
        """
        parts = urlsplit(text)
        if not parts.hostname or parts.query or parts.fragment:
            raise UsageError(f"{text} is not the address of a model", hint="write http://HOST:PORT/MODEL")
        if parts.username or parts.password:
            raise UsageError(
                "an address with a password is not used: it would be seen in lists of processes",
                hint="set BAKEHOUSE_TOKEN to the token",
            )
        return cls(f"{parts.scheme}://{parts.netloc}", unquote(parts.path.strip("/")) or None, token)

    def generate(
        self, wanted: Sequence[ImageRequest], *, preview_every: int = 0, on_event: OnEvent = ignore
    ) -> Iterator[GeneratedImage]:
        """Yield each image of the requests in order, drawn there. What is not asked for any more is canceled there.

        Args:
            wanted: what to draw.
            preview_every: steps between two previews; 0: none.
            on_event: called with progress, previews and warnings.

        Raises:
            UsageError: the server refuses what was asked, or the token.
            BakehouseError: it cannot be reached, or has failed.
        """
        most = int(self._get("/api/v1/options")["limits"]["count"])
        parts = [part for request in wanted for part in _split(request.seeded(), most)]
        waiting, queued = deque(parts), deque[tuple[ImageRequest, str]]()
        total, done = sum(request.count * request.steps for request in parts), 0
        try:
            while waiting or queued:
                while waiting and len(queued) < _AT_ONCE:
                    request = waiting.popleft()
                    queued.append((request, self._add(request, preview_every)))
                request, job = queued[0]
                yield from self._followed(request, job, (done, total), on_event)
                done += request.count * request.steps
                queued.popleft()
        finally:
            for _, job in queued:
                with contextlib.suppress(BakehouseError):
                    self._send("DELETE", f"/api/v1/jobs/{job}")

    def _add(self, request: ImageRequest, preview_every: int) -> str:
        body = {**draw_body(request), "model": self.model, "preview_every": preview_every}
        return str(self._send("POST", "/api/v1/jobs", body).json()["id"])

    def _followed(
        self, request: ImageRequest, job: str, at: tuple[int, int], on_event: OnEvent
    ) -> Iterator[GeneratedImage]:
        ended = self._end(request, job, at, on_event)
        if ended["state"] != "done":
            raise BakehouseError(f"the server has not drawn it: {ended['error'] or ended['state']}")
        for each, picture in zip(request.each(), ended["pictures"], strict=True):
            data = self._send("GET", picture["url"]).content
            image = Image.open(io.BytesIO(data))
            image.load()
            size = {"width": picture["width"], "height": picture["height"]}
            infotext = Infotext.parse(picture["infotext"])
            yield GeneratedImage(image, replace(each, seed=picture["seed"], **size), infotext)

    def _end(self, request: ImageRequest, job: str, at: tuple[int, int], on_event: OnEvent) -> dict[str, Any]:
        """Follow a job and return it as it is at its end."""
        for left in reversed(range(_TRIES)):
            try:
                for event in self._events(job):
                    _report(event, request, at, on_event)
                    if event["event"] in ("done", "failed", "canceled"):
                        ended: dict[str, Any] = event["job"]
                        return ended
            except requests.RequestException as e:
                if not left:
                    raise self._unreachable(e) from e
            time.sleep(_PAUSE_SECONDS)
        raise BakehouseError(f"{self.url} does not say how the job {job} has ended", hint="its log says more")

    def _events(self, job: str) -> Iterator[dict[str, Any]]:
        with self._send("GET", f"/api/v1/jobs/{job}/events", stream=True) as answer:
            for line in answer.iter_lines():
                if line.startswith(b"data: "):
                    yield parse_json(line.removeprefix(b"data: "))

    def _get(self, path: str) -> dict[str, Any]:
        try:
            values: dict[str, Any] = self._send("GET", path).json()
        except requests.JSONDecodeError as e:
            raise UsageError(f"{self.url} is not a server of bakehouse serve") from e
        return values

    def _send(self, method: str, path: str, body: Any = None, *, stream: bool = False) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            # Redirects are not followed: the token is for this server alone.
            answer = requests.request(
                method, self.url + quote(path, safe="/:"), json=body, headers=headers, stream=stream,
                timeout=(_CONNECT_SECONDS, _READ_SECONDS), allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as e:
            if stream:
                raise
            raise self._unreachable(e) from e
        if answer.status_code >= 300:
            raise self._error(answer)
        return answer

    def _unreachable(self, error: Exception) -> BakehouseError:
        why = "it does not answer in time" if isinstance(error, requests.Timeout) else "there is no connection"
        return BakehouseError(f"{self.url} cannot be reached: {why}", hint="start it there: bakehouse serve MODEL")

    def _error(self, answer: requests.Response) -> BakehouseError:
        """Return what the server's refusal means."""
        try:
            error = answer.json()["error"]
            message, hint = (str(error["message"]), str(error["hint"])) if isinstance(error, dict) else (str(error), "")
        except (requests.JSONDecodeError, KeyError, TypeError):
            message, hint = f"it answered {answer.status_code}: not a server of bakehouse serve?", ""
        said = f"{self.url}: {message}"
        if answer.status_code == 401:
            return UsageError(said, hint="set BAKEHOUSE_TOKEN to a token of that server: bakehouse tokens add NAME")
        if wait := answer.headers.get("Retry-After"):
            return BakehouseError(said, hint=hint or f"try again in {wait} seconds")
        return (UsageError if answer.status_code < 500 else BakehouseError)(said, hint=hint)


def draw_body(request: ImageRequest) -> dict[str, Any]:
    """Return a request as `/api/v1/draw` takes it: files are sent in base64.

    Raises:
        UsageError: a file cannot be read.
    """
    body: dict[str, Any] = {f.name: getattr(request, f.name) for f in fields(request) if f.name not in _PARTS}
    if request.image is not None:
        extend = None if request.image.extend is None else asdict(request.image.extend)
        own = {"strength": request.image.strength, "resize": request.image.resize}
        body["image"] = {"data": _base64(request.image.image), "extend": extend, **own}
    if request.inpaint is not None:
        values = {f.name: getattr(request.inpaint, f.name) for f in fields(request.inpaint)}
        body["inpaint"] = {**values, "mask": None if values["mask"] is None else _base64(values["mask"])}
    if request.hires is not None:
        body["hires"] = asdict(request.hires)
    if request.regions is not None:
        regions = [
            {
                "area": ",".join(f"{side:g}" for side in one.area) if isinstance(one.area, tuple) else one.area,
                "mask": None if one.mask is None else _base64(one.mask),
                "prompt": one.prompt,
            }
            for one in request.regions.regions
        ]
        body["regions"] = {"regions": regions, "base": request.regions.base, "edge": request.regions.edge}
    return body


def _base64(image: Any) -> str:
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()
    try:
        return base64.b64encode(Path(image).read_bytes()).decode()
    except OSError as e:
        raise UsageError(f"cannot read {image}: {e.strerror or e}") from e


def _split(request: ImageRequest, most: int) -> Iterator[ImageRequest]:
    """Yield requests for at most so many images each, whose images are those of the one request."""
    for first in range(0, request.count, most):
        count = min(most, request.count - first)
        if request.variation_strength:
            yield replace(request, count=count, variation_seed=request.variation_seed + first)
        else:
            yield replace(request, count=count, seed=request.seed + first)


def _report(event: Mapping[str, Any], request: ImageRequest, at: tuple[int, int], on_event: OnEvent) -> None:
    steps = request.count * request.steps
    match event["event"]:
        case "queued" if event["place"]:
            on_event(Noted(message=f"waiting: {event['place']} images are before it on the server"))
        case "step":
            on_event(Progress(what="denoising", done=at[0] + round(steps * event["progress"]), total=at[1]))
        case "preview":
            on_event(Previewed(image=event["number"], step=0, steps=request.steps, png=event["png"]))
        case "warning":
            on_event(Warned(message=event["message"]))
        case _:
            pass
