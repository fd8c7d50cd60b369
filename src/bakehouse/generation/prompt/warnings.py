"""Warnings about what in a prompt is probably a mistake. They never stop an image."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

from bakehouse.core.message_text import counted
from bakehouse.data.weighted_prompt import Emphasis
from bakehouse.generation.prompt.emphasis import STEP, weigh
from bakehouse.generation.prompt.schedule import last_step_before
from bakehouse.generation.prompt.syntax_tree import (
    Emphasized,
    Node,
    Prompt,
    Subprompt,
    Switch,
    Text,
    Token,
    tokens,
    walk,
)

_SHOWN = 40
"""Characters of a prompt in a message."""
_MOST = 5
"""Brackets of one kind that are named."""


def prompt_warnings(prompt: Prompt, steps: int, emphasis: Emphasis, earlier_steps: int = 0) -> Iterator[str]:
    """Yield a message for each thing in a prompt that A1111 reads in another way than it looks."""
    for subprompt in prompt.subprompts:
        if emphasis != "none":
            yield from _brackets(subprompt.nodes)
        yield from _unscheduled(subprompt)
        yield from _switches(subprompt.nodes, steps, earlier_steps)
    only = prompt.subprompts[0]
    if len(prompt.subprompts) == 1 and only.weight_at is not None:
        yield (
            f"{only.ending.strip()!r} at the end, {_place(only.weight_at)}, is read as the weight of the whole prompt; "
            "put a comma after it if it belongs to the text"
        )


def negative_warnings(prompt: Prompt, steps: int, emphasis: Emphasis, earlier_steps: int = 0) -> Iterator[str]:
    """Yield the messages of a negative prompt, with what is read in prompts only."""
    for message in prompt_warnings(prompt, steps, emphasis, earlier_steps):
        yield f"negative prompt: {message}"
    text = str(prompt)
    if " AND " in text:
        yield "negative prompt: AND is read as a word there; only prompts are composed"
    if "<lora:" in text or "<lyco:" in text:
        yield "negative prompt: <lora:...> is read as text there; write it into the prompt"


def lost_break_warning(texts: Sequence[str]) -> Iterator[str]:
    """Yield a message if a BREAK of these texts stands inside brackets."""
    if any("BREAK" in text and weigh(text).lost_breaks for text in texts):
        yield "BREAK inside ( ) or [ ] is read as a word, as in A1111; close the bracket before it"


def _place(at: int) -> str:
    return f"character {at + 1}"


def _brackets(nodes: Sequence[Node]) -> Iterator[str]:
    leaves = list(tokens(nodes))
    starts = [0]
    for leaf in leaves:
        starts.append(starts[-1] + len(leaf.text))
    found = weigh("".join(leaf.text for leaf in leaves))

    def place(index: int) -> str:
        leaf = bisect.bisect_right(starts, index) - 1
        return _place(leaves[leaf].at + index - starts[leaf])

    for index, bracket in sorted(found.unclosed)[:_MOST]:
        yield f"{bracket!r} at {place(index)} is never closed: it is read as emphasis up to the end"
    for index, bracket in found.unopened[:_MOST]:
        yield f"{bracket!r} at {place(index)} closes no bracket: it is read as a character"
    more = sum(max(0, len(several) - _MOST) for several in (found.unclosed, found.unopened))
    if more:
        yield f"{counted(more, 'more unmatched bracket')}"
    for index, weight in found.not_numbers:
        yield f"the weight {weight!r} at {place(index)} is not a number: the brackets are read as {STEP}"
    for node in walk(nodes):
        if isinstance(node, Emphasized) and node.opening.text == "[" and _has_colon(node):
            yield (
                f"{_shown(node)} at {_place(node.opening.at)} does not end in a number, so it is read as weaker "
                "emphasis; a switch is [from:to:when], a weight (text:1.2)"
            )


def _has_colon(node: Emphasized) -> bool:
    return any(isinstance(child, Text) and child.token.text == ":" for child in node.content)


def _unscheduled(prompt: Subprompt) -> Iterator[str]:
    spoiler = prompt.unscheduled_because_of
    if spoiler is None:
        return
    what = "is outside of [ ]" if spoiler.text == "|" else "escapes nothing"
    yield (
        f"{spoiler.text!r} at {_place(spoiler.at)} {what}: then A1111 reads no [from:to:when] and no [a|b] in the "
        "prompt, and neither does bakehouse"
    )


def _switches(nodes: Sequence[Node], steps: int, earlier_steps: int) -> Iterator[str]:
    for node in walk(nodes):
        if not isinstance(node, Switch):
            continue
        last = last_step_before(node.when.text, steps, earlier_steps)
        if 0 < last < steps:
            continue
        when = "never switches" if last else "switches before the first step"
        weight = "; for a weight write (text:1.3)" if node.colon is None and "." in node.when.text else ""
        yield (
            f"{_shown(node)} at {_place(node.opening.at)} {when}: {node.when.text.strip()} "
            f"{_meaning(node.when, steps)}{weight}"
        )


def _meaning(when: Token, steps: int) -> str:
    if "." in when.text:
        return f"is a share of the {steps} steps, since it has a decimal point"
    return f"is a step, and there are {steps}"


def _shown(node: Node) -> str:
    text = str(node)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
