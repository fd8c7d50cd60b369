"""Compile a prompt and a negative prompt into the weighted prompts of each step."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from bakehouse.data.weighted_prompt import Condition, Emphasis, StepPrompts
from bakehouse.generation.prompt.adapter_tags import AdapterTag, adapter_tags
from bakehouse.generation.prompt.emphasis import weighted
from bakehouse.generation.prompt.parser import parse_negative, parse_prompt
from bakehouse.generation.prompt.schedule import schedule
from bakehouse.generation.prompt.syntax_tree import Prompt
from bakehouse.generation.prompt.warnings import lost_break_warning, negative_warnings, prompt_warnings


@dataclass(frozen=True)
class CompiledPrompt:
    """What a prompt and a negative prompt mean."""

    prompt: Prompt
    negative: Prompt
    schedule: tuple[StepPrompts, ...]
    """Ranges of steps in order; the last ends at the last step."""
    adapters: tuple[AdapterTag, ...]
    warnings: tuple[str, ...]


@functools.lru_cache(maxsize=64)
def compile_prompt(
    prompt: str, negative: str = "", *, steps: int, emphasis: Emphasis = "original", earlier_steps: int = 0
) -> CompiledPrompt:
    """Return what two prompts mean. Whatever is written can be read; what looks wrong is in `warnings`.

    Args:
        prompt: in A1111's language.
        negative: the same without AND and tags.
        steps: denoising steps.
        emphasis: see `data.weighted_prompt.Emphasis`.
        earlier_steps: steps of an earlier pass whose steps are counted on; see `schedule.last_step_before`.
    """
    positive, unwanted = parse_prompt(prompt), parse_negative(negative)
    schedules = [schedule(sub, steps, earlier_steps) for sub in (*positive.subprompts, *unwanted.subprompts)]
    weigh = functools.lru_cache(maxsize=None)(functools.partial(weighted, emphasis=emphasis))
    found: list[StepPrompts] = []
    for last in sorted({last for ranges in schedules for last, _ in ranges}):
        *texts, negative_text = (next(text for end, text in ranges if last <= end) for ranges in schedules)
        conditions = (Condition(weigh(t), s.weight) for s, t in zip(positive.subprompts, texts, strict=True))
        found.append(StepPrompts(last, tuple(conditions), weigh(negative_text)))
    adapters, unusable = adapter_tags(positive.tags)
    warnings = (
        *unusable,
        *prompt_warnings(positive, steps, emphasis, earlier_steps),
        *negative_warnings(unwanted, steps, emphasis, earlier_steps),
        *(lost_break_warning([text for ranges in schedules for _, text in ranges]) if emphasis != "none" else ()),
    )
    return CompiledPrompt(positive, unwanted, tuple(found), adapters, tuple(dict.fromkeys(warnings)))
