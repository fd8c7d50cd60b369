"""What a task has found, as answers show it: names of datasets in place of the server's own paths."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from bakehouse.serve.datasets.folders import without_server_paths
from bakehouse.serve.store.task_entries import TaskEntry
from bakehouse.serve.tasks.operations import operation_of

if TYPE_CHECKING:
    from bakehouse.serve.server import Server


def shown_text(server: Server, text: str) -> str:
    """Return a message without the server's paths."""
    for root in (server.datasets.root, server.runs.root):
        text = without_server_paths(text, root)
    return text.replace(f"{server.store.folder}/", "")


def shown_command(server: Server, entry: TaskEntry) -> str:
    """Return a task as a command line that a user could type."""
    return shown_text(server, shlex.join(["bakehouse", *entry.arguments]))


def shown_result(server: Server, entry: TaskEntry) -> Any:
    """Return the result of a task that is done."""
    result = server.tasks.result(entry)
    if entry.kind == "audit" and isinstance(result, dict):
        return _audit(server, entry, result)
    if entry.kind in ("fetch", "remove-base"):
        return _of_models(result)
    return without_paths(server, result)


def _of_models(result: Any) -> Any:
    """What was fetched or removed; where it lies on this machine is nobody's business."""
    if isinstance(result, list):
        return [_of_models(one) for one in result]
    if not isinstance(result, dict):
        return None
    return {name: result[name] for name in ("name", "licence", "revision", "freed") if name in result}


def _audit(server: Server, entry: TaskEntry, report: dict[str, Any]) -> dict[str, Any]:
    folder = server.datasets.root / entry.subject

    def fix(command: str) -> dict[str, Any] | None:
        if not command:
            return None
        found = operation_of(command, folder) or {"operation": None, "arguments": []}
        return {**found, "command": shown_text(server, command)}

    findings = [{**finding, "fix": fix(finding["fix"])} for finding in report["findings"]]
    fixes = [{**one, **(fix(one["command"]) or {})} for one in report["fixes"]]
    rest = {name: value for name, value in report.items() if name not in ("folder", "findings", "fixes", "settings")}
    shown: dict[str, Any] = without_paths(server, {**rest, "findings": findings, "fixes": fixes})
    return {"dataset": entry.subject, **shown}


def without_paths(server: Server, value: Any) -> Any:
    """Return JSON without the server's paths in its texts."""
    match value:
        case str():
            return shown_text(server, value)
        case list():
            return [without_paths(server, one) for one in value]
        case dict():
            return {name: without_paths(server, one) for name, one in value.items()}
        case _:
            return value
