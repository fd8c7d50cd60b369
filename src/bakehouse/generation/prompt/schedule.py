"""The text of a prompt at each step, by A1111's rules for `[from:to:when]` and `[a|b]`."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse.generation.prompt.syntax_tree import Alternation, Node, Subprompt, Switch, Token, parts, walk


def last_step_before(when: str, steps: int, earlier_steps: int = 0) -> int:
    """Return the last step at which a switch has not happened: 0 to `steps`.

    Args:
        when: a step, or with a decimal point a share of all steps.
        steps: steps of this pass.
        earlier_steps: steps of the pass before, as with hires fix: steps are counted on, and shares begin at 1.0.
    """
    value = float(when)
    if "." in when:
        value = (value - (1.0 if earlier_steps else 0.0)) * steps
    else:
        value -= earlier_steps
    return int(min(steps, max(0.0, value)))


def text_at(nodes: Sequence[Node], step: int, steps: int, earlier_steps: int = 0) -> str:
    """Return the text at a step, the first of which is 1; brackets of emphasis are still in it."""
    texts: list[str] = []
    waiting: list[Token | Node] = list(reversed(nodes))
    while waiting:
        item = waiting.pop()
        match item:
            case Token():
                texts.append(item.text)
            case Switch():
                happened = step > last_step_before(item.when.text, steps, earlier_steps)
                waiting.extend(reversed(item.after if happened else item.before))
            case Alternation():
                waiting.extend(reversed(item.options[(step - 1) % len(item.options)]))
            case _:
                waiting.extend(reversed(parts(item)))
    return "".join(texts)


def schedule(prompt: Subprompt, steps: int, earlier_steps: int = 0) -> tuple[tuple[int, str], ...]:
    """Return last step and text of each range of steps with one text; neighbours differ."""
    nodes = list(walk(prompt.nodes))
    ends = {steps}
    for node in nodes:
        if isinstance(node, Switch):
            ends.add(last_step_before(node.when.text, steps, earlier_steps))
    if any(isinstance(node, Alternation) for node in nodes):
        ends.update(range(1, steps + 1))
    ranges: list[tuple[int, str]] = []
    for end in sorted(ends - {0}):
        text = text_at(prompt.nodes, end, steps, earlier_steps)
        if ranges and ranges[-1][1] == text:
            ranges.pop()
        ranges.append((end, text))
    return tuple(ranges)
