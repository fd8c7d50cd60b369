"""ai-toolkit's sliders from prompts: the processes `slider` and `concept_slider`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.value_types import table_entry

PROCESSES = ("slider", "concept_slider")

_SAMPLERS = {"ddpm": "ddpm", "ddim": "ddim", "lms": "lms", "euler_a": "euler a", "euler": "euler"}
_MULTIPLIER = re.compile(r",?\s+--m\s+\S+")
_DENOISING_STEPS = 40
"""Denoising steps of a trajectory in ai-toolkit's example; its code's own default is for training on images."""
_POINTS = 8
_BUILT_IN = ("batch_full_slide", "low_ram", "prompt_tensors")
_NOT_HERE = {
    "use_adapter": "images are not held by a control adapter",
    "adapter_img_dir": "images are not held by a control adapter",
    "prompt_file": "words that vary beside the ends go into slider.keep",
}


@dataclass
class SliderDraft:
    """The settings of a slider's own table."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def set(self, key: str, value: Any, origin: str) -> None:
        """Set a key of the recipe."""
        self.values[key] = value
        self.origins[key] = origin


def read_slider(process: Mapping[str, Any]) -> SliderDraft:
    """Convert the `slider` table of a process, and what else of the process means something else for sliders.

    Raises:
        UsageError: there are no targets, or a value has the wrong type.
    """
    spec = process.get("slider")
    if not isinstance(spec, Mapping):
        raise UsageError("this slider has no `slider` table", hint="it names the prompts: targets, or positive_prompt")
    draft = SliderDraft()
    draft.set("kind", "slider", "type")
    draft.set("slider.trajectories", "base", "ai-toolkit does so")
    draft.set("slider.both_ways", True, "ai-toolkit does so")
    train = process.get("train") or {}
    steps = table_entry(train, "max_denoising_steps", "int", _DENOISING_STEPS, "train")
    draft.set("slider.steps", steps, "train.max_denoising_steps")
    draft.set("slider.points", min(_POINTS, steps), "train.max_denoising_steps")
    scheduler = table_entry(train, "noise_scheduler", "text", "ddpm", "train")
    draft.set("slider.sampler", _SAMPLERS.get(scheduler, "ddim"), "train.noise_scheduler")
    if process.get("type") == "concept_slider":
        _concept_slider(spec, draft)
    else:
        _slider(spec, draft)
    if process.get("datasets"):
        why = "the slider denoises its own images"
        draft.notes.append(Note("datasets", process["datasets"], "no effect", why))
    return draft


def without_slider(process: Mapping[str, Any]) -> dict[str, Any]:
    """Return the process without what `read_slider` reads; sample prompts lose the strength, as all three are shown."""
    moved = ("max_denoising_steps", "noise_scheduler")
    rest = {k: v for k, v in process.items() if k not in ("slider", "datasets", "type")}
    if isinstance(rest.get("train"), Mapping):
        rest["train"] = {k: v for k, v in rest["train"].items() if k not in moved}
    if isinstance(rest.get("sample"), Mapping):
        sample = {k: v for k, v in rest["sample"].items() if k != "network_multiplier"}
        if isinstance(sample.get("prompts"), list):
            sample["prompts"] = list(dict.fromkeys(_MULTIPLIER.sub("", str(p)).strip() for p in sample["prompts"]))
        rest["sample"] = sample
    return rest


def _slider(spec: Mapping[str, Any], draft: SliderDraft) -> None:
    targets = table_entry(spec, "targets", "tables", [], "slider")
    if not targets:
        raise UsageError("slider.targets is empty", hint="a target has target_class, positive and negative")
    draft.set("slider.prompts", [_target(t, i, draft) for i, t in enumerate(targets)], "slider.targets")
    anchors = table_entry(spec, "anchors", "tables", [], "slider")
    if anchors:
        draft.set("slider.anchors", [_anchor(a, i, draft) for i, a in enumerate(anchors)], "slider.anchors")
    if sizes := table_entry(spec, "resolutions", "list", [], "slider"):
        draft.set("slider.sizes", sizes, "slider.resolutions")
    draft.notes += _rest(spec, {"targets", "anchors", "resolutions"})


def _target(target: Mapping[str, Any], number: int, draft: SliderDraft) -> dict[str, Any]:
    where = f"slider.targets.{number}"
    if table_entry(target, "shuffle", "flag", False, where):
        why = "prompts are used in the order in which they are written"
        draft.notes.append(Note(f"{where}.shuffle", True, "unsupported", why))
    names = {"target_class", "positive", "negative", "weight", "multiplier", "shuffle"}
    draft.notes += [
        Note(f"{where}.{k}", v, "unknown", "ai-toolkit has no such key") for k, v in target.items() if k not in names
    ]
    return {
        "target": table_entry(target, "target_class", "text", "", where),
        "positive": table_entry(target, "positive", "text", "", where),
        "negative": table_entry(target, "negative", "text", "", where),
        "guidance": table_entry(target, "multiplier", "float", 1.0, where),
        "weight": table_entry(target, "weight", "float", 1.0, where),
    }


def _anchor(anchor: Mapping[str, Any], number: int, draft: SliderDraft) -> dict[str, Any]:
    where = f"slider.anchors.{number}"
    if anchor.get("neg_prompt"):
        why = "the anchor's prediction is held without guidance"
        draft.notes.append(Note(f"{where}.neg_prompt", anchor["neg_prompt"], "no effect", why))
    return {
        "prompt": table_entry(anchor, "prompt", "text", "", where),
        "weight": abs(table_entry(anchor, "multiplier", "float", 1.0, where)) or 1.0,
    }


def _concept_slider(spec: Mapping[str, Any], draft: SliderDraft) -> None:
    def entry(name: str, default: str) -> str:
        text: str = table_entry(spec, name, "text", default, "slider")
        return text

    guidance = table_entry(spec, "guidance_strength", "float", 3.0, "slider")
    prompt = {
        "target": entry("target_class", ""),
        "positive": entry("positive_prompt", ""),
        "negative": entry("negative_prompt", ""),
        "guidance": guidance,
    }
    draft.set("slider.prompts", [prompt], "slider.positive_prompt, slider.negative_prompt, slider.target_class")
    if anchor := entry("anchor_class", ""):
        weight = table_entry(spec, "anchor_strength", "float", 1.0, "slider")
        draft.set("slider.anchors", [{"prompt": anchor, "weight": weight}], "slider.anchor_class")
    names = {"guidance_strength", "anchor_strength", "positive_prompt", "negative_prompt", "target_class"}
    draft.notes += _rest(spec, names | {"anchor_class"})


def _rest(spec: Mapping[str, Any], known: set[str]) -> Iterator[Note]:
    """Yield a note on each other key of the table."""
    for key, value in spec.items():
        name = f"slider.{key}"
        if key in known:
            continue
        if key in _BUILT_IN:
            yield Note(name, value, "built in", "both ends are trained in each step", off=True)
        elif key in _NOT_HERE:
            unused = not value or (key == "use_adapter" and not spec.get("adapter_img_dir"))
            yield Note(name, value, "unsupported", _NOT_HERE[key], off=unused)
        else:
            yield Note(name, value, "unknown", "ai-toolkit has no such key")
