from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.captions.options import Vocabulary
from bakehouse.cli.dataset.options import Folder
from bakehouse.cli.options import Json
from bakehouse.core.bundled_models import BUNDLED_BASE


def stats(
    folder: Folder,
    vocabulary: Vocabulary = None,
    base: Annotated[
        str, typer.Option(metavar="MODEL", help="Base model whose tokenizer counts tokens.")
    ] = BUNDLED_BASE,
    top: Annotated[int, typer.Option(min=1, help="Maximum lines of each table.")] = 25,
    json: Json = False,
) -> None:
    """Print tag frequencies, token counts, unknown and mistyped tags."""
    from bakehouse.captions import load_vocabulary
    from bakehouse.captions.caption_files import read_captions
    from bakehouse.captions.stats import caption_stats
    from bakehouse.captions.token_count import token_counter
    from bakehouse.cli.render.caption_stats import print_stats, tokenizer_folder

    known = load_vocabulary(vocabulary) if vocabulary else None
    count = token_counter(tokenizer_folder(base))
    print_stats(caption_stats(read_captions(folder), vocabulary=known, count_tokens=count), base, top=top, json=json)
