"""The panel that gives a link to the whole web page, with the trained model in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakehouse.notebook import html
from bakehouse.notebook.machine import is_colab
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.server import DrawServer


class SharePanel(Panel):
    """Starts the server, and shows where it is."""

    title = "In a browser"
    below = "The web page of bakehouse and its programming interfaces, with your model."

    def controls(self) -> Sequence[Any]:
        self.start = self.button("Show the link", self._start, primary=True)
        self.stop = self.button("Stop", self._stop)
        return (row(self.start, self.stop),)

    def begin(self) -> None:
        if self.by_itself or self.project.commands.is_running("serve"):
            self.work(self._start)

    def _start(self) -> None:
        server = DrawServer(self.project)
        address = server.start(self.show_progress)
        self.show_commands([server.arguments])
        link = html.text(address.link)
        self.show(f"<a class='bh-link' href='{link}' target='_blank' rel='noreferrer'>Open the page</a>")
        who = "you, in this browser, while the notebook runs" if is_colab() else "this machine alone"
        self.say("done", f"{address.url} is reached by {who}", "The link signs in: keep it to yourself.")

    def _stop(self) -> None:
        DrawServer(self.project).stop()
        self.show("")
        self.say("done", "the server has ended")
