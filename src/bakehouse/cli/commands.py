"""All commands, in the order in which they are used. Nothing heavy is imported before one runs."""

from __future__ import annotations

import typer

from bakehouse.cli.captions import captions
from bakehouse.cli.dataset import dataset
from bakehouse.cli.demo import demo
from bakehouse.cli.doctor import doctor
from bakehouse.cli.dreambench import dreambench
from bakehouse.cli.evaluate import evaluate
from bakehouse.cli.find_rate import find_rate
from bakehouse.cli.generate import generate
from bakehouse.cli.grid import grid
from bakehouse.cli.help_panels import PanelCommand
from bakehouse.cli.import_ import import_
from bakehouse.cli.models import models
from bakehouse.cli.plan import plan
from bakehouse.cli.prompt import prompt
from bakehouse.cli.publish import publish
from bakehouse.cli.queue import queue
from bakehouse.cli.render.errors import InterruptibleGroup
from bakehouse.cli.serve import serve
from bakehouse.cli.share import share
from bakehouse.cli.templates import templates
from bakehouse.cli.tokens import tokens
from bakehouse.cli.train import train
from bakehouse.cli.triggers import triggers
from bakehouse.cli.weights import weights

ORDER = (
    *("demo", "dataset", "captions", "triggers", "import", "plan", "find-rate", "train", "queue"),
    *("evaluate", "doctor", "dreambench", "generate", "prompt", "templates", "grid", "weights", "models"),
    *("publish", "serve", "tokens", "share"),
)
"""Names in `bakehouse --help`; typer itself would list groups after commands."""


class Commands(InterruptibleGroup):
    """All commands, listed in their order of use."""

    def list_commands(self, ctx: object) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: it is there in a tenth of a second
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_LONG = (plan, train, generate, grid)
"""Commands whose help lists its options in groups."""
for command in (demo, plan, train, evaluate, doctor, dreambench, generate, prompt, templates, grid):
    app.command(cls=PanelCommand if command in _LONG else None)(command)
app.command("find-rate")(find_rate)
app.command("import")(import_)
app.command()(publish)
app.command()(serve)
app.add_typer(captions, name="captions")
app.add_typer(dataset, name="dataset")
app.add_typer(models, name="models")
app.add_typer(queue, name="queue")
app.add_typer(share, name="share")
app.add_typer(tokens, name="tokens")
app.add_typer(triggers, name="triggers")
app.add_typer(weights, name="weights")
