from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.prompt_options import PromptOptions


@expand_option_groups
def prompt(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Text prompt.")],
    *,
    negative: Annotated[str, typer.Option(metavar="WORDS", help="Negative prompt.")] = "",
    steps: Annotated[int, typer.Option(help="Number of denoising steps.")] = 20,
    model: Annotated[str, typer.Option(metavar="MODEL", help="Model whose tokens are counted.")] = "crumb",
    options: PromptOptions,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain a prompt: brackets, what guides each step, and tokens."""
    from bakehouse.cli.render.consoles import spinner
    from bakehouse.cli.render.prompt import print_prompt
    from bakehouse.generation.explain_prompt import explain_prompt

    prompt, negative = options.styled(prompt, negative)
    with spinner("loading the tokenizer", quiet=quiet or json):
        explained = explain_prompt(
            prompt, negative, model=model, steps=steps, emphasis=options.emphasis, files=options.files
        )
    print_prompt(explained, json=json, quiet=quiet)
