"""Files of the Hugging Face Hub, through its own client and into its own cache, so that other programs share them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import OnEvent
from bakehouse.core.model_catalogue.download import Count, FetchError
from bakehouse.core.model_catalogue.entry import Entry, Hub

_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Brought:
    """Files that are here now; the model first."""

    folder: Path
    names: tuple[str, ...]
    revision: str = ""
    shared: bool = False
    """They were here before."""


def bring_files(entry: Entry, on_event: OnEvent) -> Brought:
    """The files that an entry names.

    Raises:
        FetchError: no network, no such file, or consent is wanted.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    source = entry.source
    assert isinstance(source, Hub)
    names = tuple(file.members[0] if file.members else file.name for file in entry.files)
    before = [try_to_load_from_cache(source.repo, name, revision=source.revision) for name in names]

    def bring() -> list[str]:
        return [hf_hub_download(source.repo, name, revision=source.revision) for name in names]

    try:
        paths = watched(bring, source.repo, f"fetching {entry.name}", entry.bytes, on_event)
    except GatedRepoError as e:
        raise FetchError(f"it asks for consent: accept its licence at {entry.origin}, then `hf auth login`") from e
    except LocalEntryNotFoundError as e:
        raise FetchError("the Hub cannot be reached") from e
    except (HfHubHTTPError, OSError) as e:
        raise FetchError(f"the Hub says: {str(e).strip().splitlines()[0]}") from e
    # Beside each other as in the repository: folder/model.onnx and folder/selected_tags.csv.
    folder = Path(paths[0]).parents[names[0].count("/")]
    return Brought(folder, names, folder.name, shared=all(isinstance(path, str) for path in before))


def watched(bring: Callable[[], list[str]], repo: str, what: str, total: int | None, on_event: OnEvent) -> list[str]:
    """Runs `bring` and tells how the repository's part of the Hub's cache grows meanwhile.

    What it raises is raised here. It runs in a thread of its own that a Ctrl-C leaves behind.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    blobs = Path(HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "blobs"
    found: list[str] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.extend(bring())
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=work, daemon=True)
    count, before = Count(what, total, on_event), _weight(blobs)
    with _silent_hub():
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            count.at(min(_weight(blobs) - before, total or 0))
    if failed:
        raise failed[0]
    return found


def _weight(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # a half that has just become whole
            total += path.stat().st_size
    return total


@contextlib.contextmanager
def _silent_hub() -> Iterator[None]:
    """Without the Hub's own bars, which would be drawn across ours."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            enable_progress_bars()


def forget(repo: str, revision: str) -> int:
    """Deletes one revision of a repository from the Hub's cache; gives the bytes that were freed.

    Raises:
        BakehouseError: the cache cannot be read.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        strategy = scan_cache_dir().delete_revisions(revision)
    except CacheNotFound as e:
        raise BakehouseError(f"the Hub's cache is not where it was: {e}") from e
    strategy.execute()
    return int(strategy.expected_freed_size)
