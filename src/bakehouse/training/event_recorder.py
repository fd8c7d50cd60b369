"""Recording of a run's events: events.jsonl, TensorBoard, and the failure that ended a training."""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Failed, Started, Warned
from bakehouse.core.message_text import counted
from bakehouse.training.out_of_memory import OutOfMemory, is_out_of_memory, out_of_memory_error
from bakehouse.training.run_setup import OpenRun
from bakehouse.training.tensorboard import TensorBoard
from bakehouse.training.training_state import find_states


def record(opened: OpenRun, events: Iterator[Event]) -> Iterator[Event]:
    """Pass on a training's events and record them in its run.

    An error is recorded as `Failed` with the state to resume from. Running out of memory is raised as a BakehouseError
    with settings that would fit.
    """
    run, step = opened.run, 0
    try:
        for event in _append(opened, explained(opened, events)):
            step = getattr(event, "step", step)
            yield event
    except OutOfMemory as e:
        run.append(Failed(step=step, error=e.message, last_good=None))
        raise
    except BakehouseError as e:
        last = find_states(run.states).newest
        path = str(last.path.relative_to(run.folder)) if last else None
        run.append(Failed(step=step, error=str(e), last_good=path))
        if last and not e.hint:
            e.hint = f"the last good state is {last.path}; the same command resumes from it"
        raise


def explained(opened: OpenRun, events: Iterator[Event]) -> Iterator[Event]:
    """Pass on a training's events; running out of memory is raised with settings that would fit."""
    step = 0
    try:
        for event in events:
            step = getattr(event, "step", step)
            yield event
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        raise out_of_memory_error(opened.plan.recipe, step) from e


def _append(opened: OpenRun, events: Iterator[Event]) -> Iterator[Event]:
    """Append events to the run's files. What they have after the step that is resumed from is dropped first."""
    run = opened.run
    board = TensorBoard(run) if opened.plan.recipe.save.tensorboard else None
    for event in events:
        if isinstance(event, Started):
            damaged = run.rewind(event.step, redo=opened.redoes_step)
            if damaged:
                what = f"{run.events}: {counted(damaged, 'damaged line')} dropped"
                run.append(lost := Warned(message=f"{what}; curves may have gaps, the training is not affected"))
                yield lost
            if board:
                board.rewind(event.step)
        run.append(event)
        if board:
            board.add(event)
        yield event
    if board:
        board.close()
