"""Output of a plan: every number with its reason, the buckets, the warnings and the cost."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings
from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.core.message_text import counted
from bakehouse.core.units import duration, size

if TYPE_CHECKING:
    from bakehouse.recipe import Plan


def print_plan(plan: Plan, *, json: bool = False, quiet: bool = False) -> None:
    """Print the plan as tables or as one JSON document; `quiet` prints only the warnings and the summary."""
    if json:
        print_json(plan.to_json())
        return
    if not quiet:
        print_table(_decisions(plan))
        if plan.images:
            echo(f"\nBuckets in pixels, and what an epoch shows in batches of {plan.recipe.train.batch_size}")
            print_table(_buckets(plan))
        echo()
    print_warnings(plan.warnings)
    _print_summary(plan)
    if not quiet and (words := _trigger_words(plan)):
        probe = shell_command("bakehouse", "triggers", "probe", *words, "--base", plan.recipe.model.base)
        echo(f"test if the base model knows {' or '.join(map(repr, words))} with: {probe}")


def _trigger_words(plan: Plan) -> list[str]:
    """Return the words to be learned, each once."""
    recipe = plan.recipe
    named = [*(t.word for t in recipe.triggers), *(c.trigger_word for c in recipe.concepts)]
    return [word for word in dict.fromkeys(named) if word]


def _decisions(plan: Plan) -> Table:
    """Return one row for each value and reason; settings that share both share the row."""
    table = Table(title=f"Plan for {plan.recipe.title}", title_justify="left", box=None, pad_edge=False)
    table.add_column("setting", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("reason", style="dim")
    rows: dict[tuple[str, str], list[str]] = {}
    for decision in plan.decisions:
        rows.setdefault((_format(decision.value), decision.reason), []).append(decision.key)
    for (value, reason), keys in rows.items():
        table.add_row("\n".join(keys), value, reason)
    return table


def _buckets(plan: Plan) -> Table:
    """Return one row for each bucket; the batches of all rows are the steps of an epoch (times accumulation)."""
    batch, shown = plan.recipe.train.batch_size, plan.order.shows()
    images = Counter(image.placement.bucket for image in plan.subject_images)
    has_class_images = any(of_class for _, of_class in shown.values())
    table = Table(box=None, pad_edge=False)
    table.add_column("bucket", justify="right", style="bold")
    heads = ["images", "shown", *(["class images shown"] if has_class_images else []), "batches", "scale", "crop loss"]
    for head in heads:
        table.add_column(head, justify="right")
    for row in plan.buckets:
        subject, of_class = shown[row.bucket]
        counts = [images[row.bucket], subject, *([of_class] if has_class_images else [])]
        batches = math.ceil((subject + of_class) / batch)
        scale, loss = f"up to x{row.largest_scale:.3g}", f"up to {row.most_lost:.0%}"
        table.add_row(f"{row.bucket[0]} x {row.bucket[1]}", *map(str, counts), str(batches), scale, loss)
    return table


def _print_summary(plan: Plan) -> None:
    cost = plan.estimate
    count = counted(sum(not image.prior for image in plan.images), "image")
    if of_class := len(plan.images) - len(plan.subject_images) + len(plan.class_images):
        count += f" and {counted(of_class, 'class image')}"
    if plan.recipe.kind == "slider" and not plan.images:
        count = f"{counted(len(plan.recipe.slider.prompts), 'pair')} of prompts, no images"
    epochs = f"{counted(plan.epochs, 'epoch')} of {counted(plan.steps_per_epoch, 'step')}"
    echo(f"{count}; {counted(plan.steps, 'step')} in {epochs}")
    needs = f"{size(cost.memory_bytes)} of memory, {size(cost.disk_bytes)} of disk"
    if cost.devices == 1:
        echo(f"about {duration(cost.seconds)} on {cost.device}, {needs} (estimates, within a factor of two)")
        return
    train = plan.recipe.train
    most = -(-train.accumulation // cost.devices)
    sent = "weights and gradients" if cost.divided else "gradients"
    images = f"{most} x {train.batch_size}" if most > 1 else str(train.batch_size)
    echo(
        f"each of {cost.devices} devices computes {images} of a step's {train.accumulation * train.batch_size} images, "
        f"and sends {size(cost.traffic_bytes)} of {sent}"
    )
    echo(
        f"about {duration(cost.seconds)} on {cost.devices} x {cost.device}, {duration(cost.traffic_seconds)} of it for "
        f"{sent}; on each {needs.replace(', ', '; in all ')} (estimates, within a factor of two)"
    )
    if (other := cost.otherwise) is not None:
        change = f"train.shard = {str(other.divided).lower()}"
        how = "the weights divided among the devices" if other.divided else "a whole copy of the weights on each device"
        echo(f"with {change}, {how}: about {duration(other.seconds)}, {size(other.memory_bytes)} of memory on each")


def _format(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{k} = {_format(v)}" for k, v in value.items())
        case [int(), int()] | (int(), int()):
            return f"{value[0]} x {value[1]}"
        case list() | tuple():
            return "; ".join(_format(v) for v in value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)
