"""The triggers of a dataset: declared in its `triggers.toml`, and what they will learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import tomlkit

from bakehouse.captions.triggers import FolderTriggers, find_triggers
from bakehouse.core.errors import Problems, UsageError
from bakehouse.curation.apply_and_undo import apply_proposals
from bakehouse.curation.changeset import Edit, Proposal, Remove, Write
from bakehouse.curation.journal import Step
from bakehouse.data.compile_captions import CompiledImage
from bakehouse.data.triggers import TRIGGER_FILE, TriggerFile
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.runs.problem_keys import problem_rows

MOST_TRIGGERS = 200


def explain_triggers(folder: Path, captions: int) -> dict[str, Any]:
    """Return a dataset's triggers, their explanation, and the first captions that compiling would change.

    Triggers that cannot be explained come with the `problem`; a dataset without any has no explanation.
    """
    path = folder / TRIGGER_FILE
    empty: dict[str, Any] = {"triggers": [], "explanation": None, "captions": [], "changes": 0, "problem": ""}
    if not path.is_file():
        return empty
    if not path.resolve().is_relative_to(folder.resolve()):
        return {**empty, "problem": f"{TRIGGER_FILE} is a link that leads out of the dataset"}
    try:
        declared = [trigger.model_dump(mode="json") for trigger in find_triggers(folder, path)]
    except UsageError as e:
        return {**empty, "problem": e.message}
    try:
        found = FolderTriggers.of(folder, path)
    except UsageError as e:
        return {**empty, "triggers": declared, "problem": e.message}
    if any(not one.record.path.resolve().is_relative_to(folder.resolve()) for one in found.compiled):
        raise bad_request("the dataset lists images outside of it", hint="import them into the dataset")
    changed = [one for one in found.compiled if _after(one) != list(one.record.captions)]
    return {
        "triggers": declared,
        "explanation": found.explain().to_json(),
        "captions": [_change(one, folder) for one in changed[:captions]],
        "changes": len(changed),
        "problem": "",
    }


def write_triggers(folder: Path, triggers: Sequence[Mapping[str, Any]]) -> Step | None:
    """Write a dataset's triggers as one step, in place of those it had; none removes them.

    Raises:
        ServeError: wrong keys or values, all at once, or too many (400).
    """
    name, path = PurePosixPath(TRIGGER_FILE), folder / TRIGGER_FILE
    if len(triggers) > MOST_TRIGGERS:
        raise bad_request(f"{len(triggers)} triggers: at most {MOST_TRIGGERS} are allowed")
    if path.is_symlink():
        raise bad_request(f"{TRIGGER_FILE} is a link", hint="remove it from the dataset's folder")
    edits: list[Edit] = []
    if triggers:
        values = {"triggers": [dict(trigger) for trigger in triggers]}
        try:
            parsed = TriggerFile.parse(values, source="the triggers")
        except Problems as e:
            rows = problem_rows(e.problems, TriggerFile)
            raise ServeError(400, "invalid_request", e.message, hint=e.hint, problems=rows) from e
        text = tomlkit.dumps(parsed.settings(mode="json"))
        if not path.is_file() or path.read_text("utf-8", errors="replace") != text:
            edits.append(Write(name, text.encode()))
    elif path.is_file():
        edits.append(Remove(name))
    return apply_proposals(folder, "triggers", [Proposal(name, "declared by hand", lambda: edits)] if edits else [])


def _after(one: CompiledImage) -> list[str]:
    return [wording.text() for wording in one.wordings]


def _change(one: CompiledImage, folder: Path) -> dict[str, Any]:
    return {
        "path": one.record.path.relative_to(folder).as_posix(),
        "before": "\n".join(one.record.captions),
        "after": "\n".join(_after(one)),
    }
