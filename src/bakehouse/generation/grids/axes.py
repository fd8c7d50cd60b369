"""The axes of a grid: models, adapters and words here, the fields of a request from `request_axes`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.generation.adapter_options import parse_adapters
from bakehouse.generation.grids.axis_kind import Apply, AxisKind, Defaults, always, no_default
from bakehouse.generation.grids.cells import Adapters, GridCell
from bakehouse.generation.grids.request_axes import NONE, number, request_axes
from bakehouse.generation.grids.values import as_text, join_values, split_values
from bakehouse.generation.model_source import ModelSource
from bakehouse.generation.prompt import escape
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.run_weights import epoch_weights, run_weights
from bakehouse.generation.templates import TemplateSet, draw_prompts, find_templates, subject_slots


def _epoch(text: str, source: ModelSource) -> str:
    """Return the path of an epoch's weights; `last` is the last epoch."""
    if source.run is None:
        raise UsageError(
            f"{source.title} is not a run, so it has no epochs",
            hint="pass a run folder as MODEL, or use the axis checkpoint",
        )
    found = epoch_weights(source.run)
    epoch = str(max(found)) if text == "last" else text.lstrip("0") or "0"
    if not epoch.isdigit() or int(epoch) not in found:
        raise UsageError(f"epoch {text}: {source.run.name} has {', '.join(map(str, found))}")
    return str(found[int(epoch)])


def _weights(text: str, source: ModelSource) -> str:
    """Return a path or a Hub id; the name of weights in the run becomes their path."""
    if source.run is not None:
        named = {p.stem if p.suffix == ".safetensors" else p.name: p for p in run_weights(source.run)}
        if text in named:
            return str(named[text])
    return text


def _apply_weights(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    return replace(cell, weights=value)


def _apply_strength(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    return replace(cell, strength=value)


def _lora(text: str, source: ModelSource) -> Adapters:
    """Return `FILE`, `FILE:0.7` or a name as an adapter with its strength; nothing for `none`."""
    return () if text.lower() == NONE else parse_adapters(source, [text])


def _apply_lora(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    return replace(cell, lora=value)


def _apply_lora_strength(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    return replace(cell, lora_strength=value)


def _apply_replacement(cell: GridCell, value: Any, values: tuple[Any, ...]) -> GridCell:
    """A1111's Prompt S/R: the first value is replaced by each of the values."""
    r, term = cell.request, values[0]
    if term not in r.prompt and term not in r.negative:
        raise UsageError(f"replace: {term!r}, its first value, is not in the prompt {r.prompt!r}")
    changed = replace(r, prompt=r.prompt.replace(term, value), negative=r.negative.replace(term, value))
    return replace(cell, request=changed)


def _trigger(text: str, source: ModelSource) -> tuple[str, str]:
    """Return the run's trigger word and what takes its place; `none`: nothing."""
    return trigger_word(source), "" if text.lower() == NONE else text


def trigger_word(source: ModelSource) -> str:
    """Return the trigger word of a run's first concept.

    Raises:
        UsageError: not a run, or one without a trigger word.
    """
    from bakehouse.recipe.recipe import Recipe

    word = source.run and Recipe.load(source.run.recipe).concepts[0].trigger_word
    if not word:
        what = "is not a run" if source.run is None else "has no trigger word"
        raise UsageError(
            f"{source.title} {what}, so there is no trigger to vary",
            hint="use replace=OLD,NEW, which replaces any words of the prompt",
        )
    return word


def _apply_trigger(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    r, (own, new) = cell.request, value
    own, new = (own, new) if r.prompt_syntax == "plain" else (escape(own), escape(new))
    whole_word = rf"(?<!\w){re.escape(own)}(?!\w)" + ("" if new else r"[^\S\n]*")
    if not re.search(whole_word, r.prompt):
        raise UsageError(f"trigger: {own!r}, the run's trigger word, is not in the prompt {r.prompt!r}")
    return replace(cell, request=replace(r, prompt=re.sub(whole_word, lambda _: new, r.prompt).strip()))


def _all_triggers(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    return trigger_word(source), NONE


def _template(text: str, source: ModelSource) -> tuple[TemplateSet, ModelSource]:
    return find_templates(text), source


def _apply_template(cell: GridCell, value: Any, _: tuple[Any, ...]) -> GridCell:
    """Put a template around the prompt, which is its subject; what the template leaves open, the seed decides."""
    (found, source), r = value, cell.request
    usual = source.usual
    drawn = draw_prompts(
        replace(r, prompt=""),
        sets=[found],
        slots={**subject_slots(source), "subject": r.prompt},
        conventions=None if usual is None else usual.conventions,
    )
    return replace(cell, request=drawn[0].request)


def _all_epochs(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    return list(epoch_weights(source.run)) if source.run is not None else ["last"]


def _all_weights(source: ModelSource, request: ImageRequest) -> Sequence[Any]:
    return run_weights(source.run) if source.run is not None else ()


def _strength(name: str, label: str, apply: Apply, *values: float) -> AxisKind:
    sets = frozenset({name})
    return AxisKind(name, label, number(float), apply, always(*values), ranged="decimal", sets=sets, takes="numbers")


def _model(name: str, label: str, defaults: Defaults, takes: str) -> AxisKind:
    return AxisKind(name, label, _weights, _apply_weights, defaults, True, None, _WEIGHTS, takes, files=True)


_WEIGHTS, _LORA = frozenset({"weights"}), frozenset({"lora"})
_TEMPLATE, _TRIGGER = frozenset({"template"}), frozenset({"trigger"})

AXES: dict[str, AxisKind] = {
    row.name: row
    for row in (
        # The values of all axes are applied in this order: a template after the seed, which decides what it leaves
        # open, and the search for words last of all.
        AxisKind(
            "epoch", "Epoch", _epoch, _apply_weights, _all_epochs, False, "whole", _WEIGHTS, "whole numbers, or last"
        ),
        _model("checkpoint", "Checkpoint", _all_weights, "names of the run's weights, or files"),
        _model("adapter", "Adapter", _all_weights, "files of adapters"),
        _model("model", "Checkpoint name", no_default, "models, as MODEL"),
        _strength("weight", "Weight", _apply_strength, 0.4, 0.6, 0.8, 1.0),
        AxisKind("lora", "LoRA", _lora, _apply_lora, sets=_LORA, takes="FILE, FILE:WEIGHT, or none", files=True),
        _strength("lora_weight", "LoRA weight", _apply_lora_strength, 0.0, 0.4, 0.8, 1.0),
        *request_axes(),
        AxisKind("template", "Template", _template, _apply_template, sets=_TEMPLATE, takes="NAME, NAME:3 or FILE"),
        AxisKind("trigger", "Trigger", _trigger, _apply_trigger, _all_triggers, sets=_TRIGGER, takes="words, or none"),
        AxisKind("replace", "Prompt S/R", lambda text, source: text, _apply_replacement, bare=True),
    )
}
RANK = {name: i for i, name in enumerate(AXES)}
"""The order in which axes are applied to a cell."""


@dataclass(frozen=True)
class Axis:
    """A kind of axis and its values, as text and parsed."""

    kind: AxisKind
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.kind.value_label(text) for text in self.texts)

    def apply(self, cell: GridCell, i: int) -> GridCell:
        """Return the cell with the i-th value applied."""
        return self.kind.apply(cell, self.values[i], self.values)

    def __str__(self) -> str:
        """Return the text that `parse_axis` reads; empty for an axis that varies nothing."""
        return f"{self.kind.name}={join_values(self.texts)}" if self.kind.name else ""


NO_AXIS = Axis(
    AxisKind("", "Nothing", lambda text, source: text, lambda cell, value, values: cell, bare=True), ("",), ("",)
)
"""An axis of one value that varies nothing."""


def make_axis(name: str, values: Sequence[Any] | None, source: ModelSource, request: ImageRequest) -> Axis:
    """Return an axis of values.

    Args:
        name: a row of `AXES`; `guidance-rescale` and `lora weight` are read as `guidance_rescale` and `lora_weight`.
        values: None: the default of this kind of axis, such as all epochs of a run.
        source: the grid's model.
        request: the settings that the grid varies.

    Raises:
        UsageError: an unknown axis, an invalid value, or no values.
    """
    kind = _find_kind(name)
    if kind is None:
        raise UsageError(f"axis {name!r}: unknown{did_you_mean(name, AXES)}", hint=f"allowed are {', '.join(AXES)}")
    texts = tuple(as_text(v) for v in (kind.defaults(source, request) if values is None else values))
    if not texts:
        raise UsageError(
            f"axis {kind.name} needs values", hint=f"write {kind.name}=first,second (quote values that contain commas)"
        )
    try:
        return Axis(kind, texts, tuple(kind.parse(text, source) for text in texts))
    except UsageError as e:
        raise UsageError(f"axis {kind.name}: {e.message}", hint=e.hint) from e


def parse_axis(text: str, source: ModelSource, request: ImageRequest) -> Axis:
    """Parse an axis: `epoch`, `weight=0.4,0.6`, `prompt="a cat, red",a dog`, `prompt=@file.txt`.

    Numbers may be ranges, as in A1111: `1-5`, `1-5 (+2)`, `10-0 (-2)`, `1-10 [5]` (five values, evenly spaced).

    Raises:
        UsageError: see `make_axis`; or the file of values cannot be read.
    """
    name, equals, written = text.partition("=")
    if not equals:
        return make_axis(name, None, source, request)
    kind = _find_kind(name)
    try:
        values = split_values(written.strip(), ranged=None if kind is None else kind.ranged)
    except UsageError as e:
        raise UsageError(f"axis {name.strip()}: {e.message}", hint=e.hint) from e
    return make_axis(name, values, source, request)


def check_together(axes: Sequence[Axis]) -> None:
    """Check that no two axes of a grid decide the same setting.

    Raises:
        UsageError: two do, or one has no values.
    """
    for i, first in enumerate(axes):
        if not first.values:
            raise UsageError("an axis has no values", hint="give each axis at least one value")
        for second in axes[i + 1 :]:
            if first.kind.sets & second.kind.sets:
                raise UsageError(
                    f"both axes, {first.kind.name} and {second.kind.name}, vary the same setting",
                    hint="choose another for one of them",
                )


def _find_kind(name: str) -> AxisKind | None:
    return AXES.get(re.sub(r"[\s-]+", "_", name.strip().lower()))
