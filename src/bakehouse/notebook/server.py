"""The server that keeps the trained model loaded: pictures come quickly, and a browser can be given a link."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from bakehouse.core.errors import BakehouseError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.notebook.commands import POLL_SECONDS, OnProgress
from bakehouse.notebook.machine import public_address
from bakehouse.notebook.project import Project

_COMMAND = "serve"
_IDLE_MINUTES = 10


@dataclass(frozen=True)
class Address:
    """Where the server is."""

    model: str
    """The model's address on this machine."""
    url: str
    """What a browser opens."""
    token: str

    @property
    def link(self) -> str:
        """The link that signs in; whoever has it may use the server until it ends."""
        return f"{self.url}/#token={self.token}"


class DrawServer:
    """`bakehouse serve` with a project's run, as a process that outlives the kernel."""

    def __init__(self, project: Project) -> None:
        self._project = project

    @property
    def arguments(self) -> list[str]:
        """The command as a user would type it."""
        return ["serve", self._project.run_name]

    def start(self, on_progress: OnProgress) -> Address:
        """Start the server, or find the one that runs; return its address.

        Raises:
            UsageError: nothing is trained yet.
            BakehouseError: it cannot be started; on Colab: there is no address for browsers.
        """
        project, commands = self._project, self._project.commands
        project.need_weights()
        name = project.run.name
        found = self._ready() if commands.is_running(_COMMAND) else None
        if found is not None and found[2] != name:
            self.stop()
            found = None
        if found is None:
            found = self._begin(on_progress)
        url, token, _ = found
        return Address(f"{url}/{name}", public_address(urlsplit(url).port or 0) or url, token)

    def stop(self) -> None:
        """End the server, which frees the device."""
        self._project.commands.stop(_COMMAND)

    def _begin(self, on_progress: OnProgress) -> tuple[str, str, str]:
        port = _free_port()
        outside = public_address(port)
        known = ["--allow-host", str(urlsplit(outside).hostname), "--allow-origin", outside] if outside else []
        own = ["--port", str(port), "--idle", str(_IDLE_MINUTES), "--data", "server", "--json", *known]
        commands = self._project.commands
        if not commands.is_running(_COMMAND):
            commands.start(_COMMAND, [*self.arguments, *own])
        while (ready := self._ready()) is None:
            if not commands.is_running(_COMMAND):
                commands.wait(_COMMAND, on_progress)
                raise BakehouseError("the server ended before it was ready", hint="start it again")
            on_progress("starting the server", None)
            time.sleep(POLL_SECONDS)
        return ready

    def _ready(self) -> tuple[str, str, str] | None:
        """Return address, token and model of the server that runs; None before it is ready."""
        first = self._project.commands.process(_COMMAND).printed().partition(b"\n")[0]
        try:
            said = parse_json(first)
            return str(said["url"]), str(said["token"]), str(said["models"][0])
        except (ValueError, KeyError, TypeError, IndexError):
            return None


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
