"""The panel that judges the training: whether the subject was learned, and which saved weights are best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakehouse.core.files import read_json
from bakehouse.notebook import html
from bakehouse.notebook.panels.panel import Panel, row
from bakehouse.notebook.server import DrawServer

_COMMAND = "evaluate"
_GRID_PIXELS = 1400
_LEARNED = "learned"


class JudgePanel(Panel):
    """Shows the verdict of `bakehouse evaluate`, its pick and its grid."""

    title = "Judge"
    below = "Draws the same prompts with and without it, compares the pictures with your photos, and picks the best."

    def controls(self) -> Sequence[Any]:
        self.judge = self.button("Judge", self._judge, primary=True)
        self.stop = self.button("Stop", lambda: self.project.commands.stop(_COMMAND), waits=False)
        return (row(self.judge, self.stop),)

    def begin(self) -> None:
        if self.project.commands.is_running(_COMMAND):
            self.work(self._follow)
        elif (self.project.run.report / "scores.json").is_file():
            self._show()
        elif self.by_itself:
            self.work(self._judge)

    def _judge(self) -> None:
        self.project.need_weights()
        DrawServer(self.project).stop()
        words = ["evaluate", self.project.run_name]
        self.show_commands([words])
        self.project.commands.start(_COMMAND, [*words, "--json"])
        self._follow()

    def _follow(self) -> None:
        self.project.commands.wait(_COMMAND, self.show_progress)
        self.keep()
        self._show()

    def _show(self) -> None:
        report = self.project.run.report
        scores = read_json(report / "scores.json")
        verdict, pick = scores["verdict"], scores["pick"]
        kind: html.Kind = "done" if verdict["word"] == _LEARNED else "warning"
        self.say(kind, f"{verdict['word']}: {verdict['why']}", verdict["mend"])
        picked = f"{pick['weights']} at strength {pick['weight']:g}" if pick["weights"] else "nothing is picked"
        grid = html.picture(report / "grid.png", longest=_GRID_PIXELS) if (report / "grid.png").is_file() else ""
        page = f"<p>All pictures and figures: {html.text(report / 'report.html')}</p>"
        self.show(f"<p><b>{html.text(picked)}</b>. {html.text(pick['why'])}</p>{grid}{page}")
