"""Downloading from the Hugging Face Hub with its own client into its own cache, which other programs share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import OnEvent
from bakehouse.core.model_catalogue.download import ByteProgress, DownloadError
from bakehouse.core.model_catalogue.entry import Entry, Hub

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class DownloadedFiles:
    """The files of a model that are on this machine now."""

    folder: Path
    names: tuple[str, ...]
    """Relative to `folder`, the model first."""
    revision: str = ""
    shared: bool = False
    """They were in the Hub's cache before."""


def download_files(entry: Entry, on_event: OnEvent) -> DownloadedFiles:
    """Download the files that an entry names, unless they are in the Hub's cache, and return where they are.

    Raises:
        DownloadError: no network, no such file, or the model is gated.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    source = entry.source
    assert isinstance(source, Hub)
    names = tuple(file.members[0] if file.members else file.name for file in entry.files)
    before = [try_to_load_from_cache(source.repo, name, revision=source.revision) for name in names]

    def load() -> list[str]:
        return [hf_hub_download(source.repo, name, revision=source.revision) for name in names]

    try:
        paths = with_cache_progress(load, source.repo, f"fetching {entry.name}", entry.bytes, on_event)
    except GatedRepoError as e:
        raise DownloadError(f"it is gated: accept its licence at {entry.origin}, then run `hf auth login`") from e
    except LocalEntryNotFoundError as e:
        raise DownloadError("the Hub cannot be reached") from e
    except (HfHubHTTPError, OSError) as e:
        raise DownloadError(f"the Hub answers: {str(e).strip().splitlines()[0]}") from e
    # The snapshot's folder: names may have folders in front, as onnx/model.onnx.
    folder = Path(paths[0]).parents[names[0].count("/")]
    return DownloadedFiles(folder, names, folder.name, shared=all(isinstance(path, str) for path in before))


def with_cache_progress(
    load: Callable[[], list[str]], repo: str, what: str, total: int | None, on_event: OnEvent
) -> list[str]:
    """Run `load` and return its result; reports meanwhile how the repository's folder in the Hub's cache grows.

    `load` runs in a daemon thread, which Ctrl-C does not wait for. Its exceptions are raised here.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    blobs = Path(HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "blobs"
    found: list[str] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.extend(load())
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=work, daemon=True)
    progress, before = ByteProgress(what, total, on_event), _size(blobs)
    with _hub_progress_bars_off():
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            progress.update(min(_size(blobs) - before, total or 0))
    if failed:
        raise failed[0]
    return found


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # an incomplete file that has just been renamed
            total += path.stat().st_size
    return total


@contextlib.contextmanager
def _hub_progress_bars_off() -> Iterator[None]:
    """Turn off the progress bars of the Hub's client, which would be drawn across ours."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            enable_progress_bars()


def delete_revision(repo: str, revision: str) -> int:
    """Delete a revision of a repository from the Hub's cache and return the number of bytes that were freed.

    Raises:
        BakehouseError: the cache cannot be read.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        strategy = scan_cache_dir().delete_revisions(revision)
    except CacheNotFound as e:
        raise BakehouseError(f"the Hub's cache is missing: {e}") from e
    strategy.execute()
    return int(strategy.expected_freed_size)
