"""A copy of the run elsewhere while it trains: on a mounted drive, or behind any URL that fsspec knows.

A thread of its own follows the run's folder, so that the training neither waits for it nor knows of it: whatever is in
the folder is whole, since files are renamed into their places. The copy is a run folder too, from which training can
be resumed. It never fails a training: what cannot be copied is tried again, and named at the end.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Finished, Noted, Progress, Warned
from bakehouse.core.file_store import FileStore, open_store
from bakehouse.core.files import key_of, write_json
from bakehouse.core.message_text import counted, listed
from bakehouse.core.run_folder import Run
from bakehouse.recipe import Recipe
from bakehouse.training.mirror_files import (
    MANIFEST,
    SourceFile,
    mirrored_files,
    newest_step,
    read_manifest,
    superseded,
)
from bakehouse.training.run_inputs import decisive_settings
from bakehouse.training.run_setup import OpenRun

LOOK_EVERY = 5.0
"""Seconds between two looks at the run's folder."""
RETRIES = (5.0, 30.0, 120.0, 300.0)
"""Seconds to wait after one failure, two, and so on."""
LAST_TRIES = 3
"""Failures in a row at the end of the training after which the mirror gives up."""
PATIENCE = 600.0
"""Seconds without a byte at the end of the training after which it does."""
_NICE = 10
"""Priority of the thread: a tenth of the training's share where both want the same core."""


@contextlib.contextmanager
def mirroring(opened: OpenRun, recipe: Recipe) -> Iterator[Mirror | None]:
    """Copy the run to `save.mirror` during the block; None where the recipe has none.

    Raises:
        UsageError: no such protocol, or the mirror holds another run, or more of this run than the folder does.
    """
    if recipe.save.mirror is None:
        yield None
        return
    url = f"{recipe.save.mirror.rstrip('/')}/{opened.run.name}"
    images = [image.record.sha256 for image in opened.inputs.plan.images]
    identity = key_of(decisive_settings(opened.inputs.plan.recipe), images)
    mirror = Mirror(opened.run, open_store(url), identity, prune=recipe.save.keep_last is not None)
    mirror.start()
    try:
        yield mirror
    finally:
        mirror.close()


def mirrored(events: Iterator[Event], mirror: Mirror | None) -> Iterator[Event]:
    """Pass on a training's events with the mirror's warnings among them; at the end, wait until all is copied."""
    for event in events:
        if mirror is not None and isinstance(event, Finished):
            yield from mirror.finish()
        yield event
        if mirror is not None:
            yield from mirror.warnings()
    if mirror is not None:
        mirror.copy_journal()


@dataclass
class Mirror:
    """Follows a run's folder and copies what is new."""

    run: Run
    store: FileStore
    identity: str
    """The same for all runs of one recipe on the same images."""
    prune: bool
    """Whether weights that the run has removed are removed in the copy too."""
    _copied: dict[str, list[int]] = field(default_factory=dict)
    """Size and time of change of each file that has been copied, as in the run's folder."""
    _messages: deque[str] = field(default_factory=deque)
    _checked: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _wake: threading.Event = field(default_factory=threading.Event)
    _complete: threading.Event = field(default_factory=threading.Event)
    _at_end: bool = False
    _failures: int = 0
    _bytes: int = 0
    _error: str = ""
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Check what the mirror holds, and begin to copy.

        Raises:
            UsageError: it holds another run, or more of this run than the folder does.
        """
        try:
            self._check()
        except UsageError:
            raise
        except BakehouseError as e:
            self._warn(e)
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)
        self._thread.start()

    def warnings(self) -> Iterator[Event]:
        """Yield what has gone wrong since the last call."""
        while self._messages:
            yield Warned(message=self._messages.popleft())

    def finish(self) -> Generator[Event, None, None]:
        """Wait until everything is copied, or it is plain that it cannot be; say which."""
        self._failures, self._at_end = 0, True
        self._wake.set()
        before, since, total = -1, time.monotonic(), max(len(self._due()), 1)
        while self._is_working() and self._failures < LAST_TRIES:
            if self._bytes != before:
                before, since = self._bytes, time.monotonic()
                yield Progress(what="copying the run", done=max(total - len(self._due()), 0), total=total)
            elif time.monotonic() - since > PATIENCE:
                break
        yield from self.warnings()
        missing = self._due()
        if not missing:
            yield Noted(message=f"the run is copied to {self.store.url}")
            return
        names = listed([f.name for f in missing])
        yield Warned(
            message=f"{self.store.url} lacks {counted(len(missing), 'file')} of the run: {names} ({self._error}); "
            "the same command copies them"
        )

    def _is_working(self) -> bool:
        """Wait a moment; whether the thread has more to copy. It ends early where the copy is of another run."""
        return not self._complete.wait(0.2) and self._thread is not None and self._thread.is_alive()

    def copy_journal(self) -> None:
        """Copy the events once more, with the last one among them; without a message if it fails."""
        if self._complete.is_set():
            with contextlib.suppress(BakehouseError):
                self.store.put(self.run.events, self.run.events.name)

    def close(self) -> None:
        """Stop; a file that is being copied is left behind as it is, under its temporary name."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # a thread has a priority of its own on Linux alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._stop.is_set():
            at_end = self._at_end
            try:
                self._check()
                self._copy_due()
            except UsageError as e:
                self._messages.append(f"nothing is copied to {self.store.url}: {e.message}")
                self._error = e.message
                return
            # Nothing that happens to a copy may end the training, or the copying.
            except Exception as e:
                self._failed(e, at_end)
                continue
            self._failures, self._error = 0, ""
            if at_end:
                self._complete.set()
                return
            self._pause(LOOK_EVERY)

    def _failed(self, error: Exception, at_end: bool) -> None:
        self._warn(error)
        self._failures += 1
        wait = RETRIES[min(self._failures, len(RETRIES)) - 1]
        self._pause(min(wait, RETRIES[0]) if at_end else wait)

    def _warn(self, error: Exception) -> None:
        """Warn of an error, once until it is another one or all is well again."""
        text = error.message if isinstance(error, BakehouseError) else f"{type(error).__name__}: {error}"
        if text != self._error:
            self._messages.append(f"the run is not copied to {self.store.url}: {text}; it is tried again")
        self._error = text

    def _pause(self, seconds: float) -> None:
        if not self._at_end or self._failures:
            self._wake.wait(seconds)
        self._wake.clear()

    def _check(self) -> None:
        """Read what an earlier process has copied.

        Raises:
            UsageError: it is another run, or more of this one than the folder holds.
        """
        if self._checked:
            return
        found = read_manifest(self.store.read(MANIFEST))
        if found:
            if found.get("run") != self.identity:
                raise UsageError(
                    f"{self.store.url} holds a run of another recipe or of other images",
                    hint="choose another save.mirror, give the run another name with --run, or move that copy away",
                )
            theirs, ours = newest_step(found["files"]), newest_step(f.name for f in mirrored_files(self.run))
            if theirs > ours:
                raise UsageError(
                    f"{self.store.url} holds this run up to step {theirs}, and {self.run.folder} up to step {ours}",
                    hint="to go on from there, run the same command with --restore, which copies it back; to begin "
                    "anew, move that copy away",
                )
            self._copied = {str(name): list(value) for name, value in found["files"].items()}
        elif self.store.size(self.run.recipe.name) is not None:
            raise UsageError(
                f"{self.store.url} holds a run that was not copied by save.mirror",
                hint="choose another save.mirror, or move what is there away",
            )
        else:
            self._write_manifest()
        self._checked = True

    def _due(self) -> list[SourceFile]:
        """Return the files that are not copied yet, in the order in which they are; journals only beside others."""
        files = [f for f in mirrored_files(self.run) if self._copied.get(f.name) != f.stamp]
        return files if any(not f.is_journal for f in files) or self._at_end else []

    def _copy_due(self) -> None:
        changed = False
        for file in self._due():
            if self._stop.is_set():
                return
            try:
                self.store.put(file.path, file.name, self._count)
            except BakehouseError:
                if file.path.exists():
                    raise
                continue  # the training has removed it meanwhile
            self._copied[file.name] = file.stamp
            changed = True
        for name in superseded(self.run, self._copied, prune=self.prune):
            self.store.remove(name)
            self._copied = {n: s for n, s in self._copied.items() if n != name and not n.startswith(f"{name}/")}
            changed = True
        if changed:
            self._write_manifest()

    def _count(self, count: int) -> None:
        self._bytes += count

    def _write_manifest(self) -> None:
        path = self.run.folder / f".{MANIFEST}.part"
        write_json(path, {"version": 1, "run": self.identity, "files": self._copied})
        try:
            self.store.put(path, MANIFEST)
        finally:
            path.unlink(missing_ok=True)
