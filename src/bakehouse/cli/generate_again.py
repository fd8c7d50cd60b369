"""`bakehouse generate --again FILE`: what the infotext decides, and what the command line still may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakehouse.cli.adapter_arguments import extra_adapters
from bakehouse.cli.render.consoles import print_warnings
from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.generation import ImageRequest, ModelSource
    from bakehouse.generation.reproduce import Reproduction

_STILL_OPEN = ("precision", "batch", "adapter", "embeddings")
"""Options that do not decide what the image shows, or that say where its adapters are."""


@dataclass(frozen=True)
class Repeated:
    """What to generate, and with what."""

    wanted: Reproduction
    source: ModelSource
    adapters: tuple[tuple[Path, float], ...]

    @property
    def request(self) -> ImageRequest:
        return self.wanted.request

    def warn_of_weights(self, model_hash: str) -> None:
        """Warn if the loaded files are not those that the image was made with."""
        from bakehouse.generation.reproduce import weights_notes

        print_warnings(weights_notes(self.wanted, model_hash, self.adapters))


def repeated(
    file: Path,
    model: str | None,
    prompt: str | None,
    groups: Sequence[Any],
    *,
    base: str | None = None,
    prediction: Any = None,
    others: dict[str, bool],
) -> Repeated:
    """Read an image's infotext, find its model and adapters, and warn of what is not followed.

    Args:
        file: the image.
        model: MODEL on the command line; None: found by the hash in the infotext.
        prompt: PROMPT on the command line, which must be absent.
        groups: the command's groups of options, the first `GenerationOptions`. Of all only `precision`, `batch` and
            `adapter` may be given, and folders of what prompts name.
        base: the base model, if MODEL is an adapter.
        prediction: the prediction type of the base.
        others: further options by name, and whether they were given.

    Raises:
        UsageError: options that the infotext decides, no infotext, or a model or adapter that is not found.
    """
    from bakehouse.generation import resolve
    from bakehouse.generation.reproduce import find_adapters, find_base, read_reproduction

    refuse_given({"PROMPT": prompt is not None, **others}, groups, _STILL_OPEN)
    wanted = read_reproduction(file)
    print_warnings(wanted.notes)
    source = resolve(model or find_base(wanted), base=base, prediction=prediction)
    listed = [path for path, _ in (*source.adapters, *extra_adapters(source, groups[0].adapter))]
    return Repeated(wanted, replace(source, adapters=()), find_adapters(wanted, listed))


def refuse_given(single: dict[str, bool], groups: Sequence[Any], allowed: Sequence[str]) -> None:
    """Refuse options that a file decides.

    Args:
        single: arguments and options by name, and whether they were given.
        groups: groups of options.
        allowed: names of those in the groups that may be given.

    Raises:
        UsageError: some were given; names all of them.
    """
    given = [name if name.isupper() else f"--{name}" for name, is_given in single.items() if is_given]
    for group in groups:
        changed = (f.name for f in fields(group) if getattr(group, f.name) != f.default and f.name not in allowed)
        given += [f"--{name.replace('_', '-')}" for name in changed]
    if given:
        raise UsageError(f"--again takes all settings from the file, so it cannot be used with {', '.join(given)}")
