"""The settings of a server from the options of `bakehouse serve`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bakehouse.serve.settings import ServeSettings
    from bakehouse.serve.work.worker_process import WorkerSettings


def serve_settings(
    models: list[str],
    *,
    base: str | None,
    devices: list[str],
    precision: str,
    loras: Path | None,
    embeddings: Path | None,
    host: str,
    port: int,
    anonymous: Literal["none", "read", "draw"],
    hf_2023: bool,
    budget: float | None,
    parking: float,
    idle: float | None,
    queue: int,
    hosts: list[str] | None,
    origins: list[str] | None,
    fetch_hosts: list[str] | None,
    log_prompts: bool,
    folder: Path | None,
    datasets: Path | None,
    runs: Path | None,
    safety_checker: str | None,
) -> ServeSettings:
    """Return the settings that options give.

    Raises:
        UsageError: a value out of range, a folder that does not exist, or a name that cannot be in a URL.
    """
    from bakehouse.serve.settings import HF_2023_IDLE_SECONDS, HF_2023_QUOTA, ServeSettings
    from bakehouse.serve.start import check_installed
    from bakehouse.serve.store.tokens import NO_QUOTA

    check_installed()
    from bakehouse.serve.work.engine import EngineSettings
    from bakehouse.serve.work.served_models import ModelToServe

    _check(port, loras, embeddings, {"--budget": budget, "--idle": idle, "--queue": queue})
    workers = _workers(devices, precision, (loras, embeddings), safety_checker)
    idle_seconds = 60 * idle if idle is not None else HF_2023_IDLE_SECONDS if hf_2023 else None
    room = None if budget is None else int(budget * 1e9)
    engine = EngineSettings(workers, queue, room, int(parking * 1e9), idle_seconds)
    return ServeSettings(
        models=tuple(ModelToServe.parse(model, base) for model in models),
        engine=engine,
        folder=folder,
        datasets=datasets,
        runs=runs,
        host=host,
        port=port,
        anonymous=None if anonymous == "none" else anonymous,
        quota=HF_2023_QUOTA if hf_2023 else NO_QUOTA,
        allowed_hosts=tuple(hosts or ()),
        allowed_origins=tuple(origins or ()),
        fetch_hosts=tuple(fetch_hosts or ()),
        hf_2023=hf_2023,
        log_prompts=log_prompts,
    )


def _workers(
    devices: list[str], precision: str, folders: tuple[Path | None, Path | None], safety_checker: str | None
) -> tuple[WorkerSettings, ...]:
    from bakehouse.serve.work.worker_process import WorkerSettings

    loras, embeddings = (None if path is None else str(path.resolve()) for path in folders)
    return tuple(WorkerSettings(device, precision, loras, embeddings, safety_checker) for device in devices)


def _check(port: int, loras: Path | None, embeddings: Path | None, positive: Mapping[str, float | None]) -> None:
    from bakehouse.core.errors import UsageError

    for name, value in positive.items():
        if value is not None and value <= 0:
            raise UsageError(f"{name} {value}: must be more than 0")
    for option, directory in (("--loras", loras), ("--embeddings", embeddings)):
        if directory is not None and not directory.is_dir():
            raise UsageError(f"{option} {directory}: there is no such folder")
    if not 0 <= port < 65536:
        raise UsageError(f"--port {port}: allowed are 0 (a free one) to 65535")
