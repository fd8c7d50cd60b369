"""Publishing to a repository of the Hugging Face Hub, with its own client."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Progress
from bakehouse.core.files import write_json
from bakehouse.core.hub_token import HubToken
from bakehouse.publish.destination import Comparison, Published, changes
from bakehouse.publish.publication import CARD, MANIFEST, Publication

_AGAIN = "run the same command again: what has been uploaded is not uploaded again"


class HubDestination:
    """A repository. Large files are uploaded one by one, then one commit makes all of them visible at once."""

    def __init__(self, repo: str, token: HubToken, *, public: bool, bars: bool = False) -> None:
        """`bars`: let the Hub's client show its own progress bars, which count the bytes of each file."""
        self.repo = repo
        self._token = token
        self._public = public
        self._bars = bars

    def update(
        self, publication: Publication, folder: Path, *, replace_card: bool
    ) -> Generator[Event, None, Published]:
        """Upload what is different there.

        Raises:
            UsageError: the repository is public, and a private one was asked for; the token may not write.
            BakehouseError: the Hub cannot be reached, or refuses a file.
        """
        from huggingface_hub import CommitOperationAdd

        api = self._api()
        with self._errors(), self._own_bars():
            self._prepare(api)
            there, card = (self._read(api, name, folder) for name in (MANIFEST, CARD))
        found = changes(publication, there, card, replace_card=replace_card)
        manifest = write_json(folder / MANIFEST, found.manifest)
        named = [*((f.name, f.path) for f in found.files), (MANIFEST, manifest)]
        operations = []
        for done, (name, path) in enumerate(named):
            if not self._bars:
                yield Progress(what="uploading files", done=done, total=len(named))
            operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
            with self._errors(), self._own_bars():
                api.preupload_lfs_files(self.repo, additions=[operation], free_memory=False)
            operations.append(operation)
        with self._errors(), self._own_bars():
            before = api.repo_info(self.repo).sha
            commit = api.create_commit(self.repo, operations, commit_message=f"Publish {publication.plan.facts.title}")
        if not self._bars:
            yield Progress(what="uploading files", done=len(named), total=len(named))
        changed = () if commit.oid == before else self._changed(found.recorded, named, publication)
        return Published(
            where=f"{api.endpoint}/{self.repo}", changed=changed, unchanged=len(named) - len(changed), notes=found.notes
        )

    def compare(self, publication: Publication, folder: Path, *, replace_card: bool) -> Comparison:
        """Say what `update` would upload; the repository is not made.

        Raises:
            UsageError: the repository is public, and a private one was asked for; the token may not read it.
            BakehouseError: the Hub cannot be reached.
        """
        api = self._api()
        there, card = None, None
        with self._errors(), self._own_bars():
            exists = self._is_there(api)
            if exists:
                there, card = (self._read(api, name, folder) for name in (MANIFEST, CARD))
        found = changes(publication, there, card, replace_card=replace_card)
        files = found.states(publication, lambda _: True)
        return Comparison(f"{api.endpoint}/{self.repo}", exists, files, found.notes)

    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(token=self._token.text, library_name="bakehouse")

    def _prepare(self, api: Any) -> None:
        """Make the repository, unless it is there.

        Raises:
            UsageError: it is there and public, and a private one was asked for.
        """
        if not self._is_there(api):
            api.create_repo(self.repo, private=not self._public, exist_ok=True)

    def _is_there(self, api: Any) -> bool:
        """Return whether there is a repository.

        Raises:
            UsageError: it is public, and a private one was asked for.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            is_private = bool(api.repo_info(self.repo).private)
        except RepositoryNotFoundError:
            return False
        if not is_private and not self._public:
            raise UsageError(
                f"{self.repo} is public, so that everybody would see the model",
                hint="pass --public if that is meant, or make the repository private on its settings page",
            )
        return True

    def _read(self, api: Any, name: str, folder: Path) -> bytes | None:
        """Return a small file of the repository; None if it has none."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return Path(api.hf_hub_download(self.repo, name, local_dir=folder / "there")).read_bytes()
        except LocalEntryNotFoundError:  # one of the others, for a Hub that cannot be reached
            raise
        except EntryNotFoundError:
            return None

    def _changed(self, recorded: Any, named: list[tuple[str, Path]], publication: Publication) -> tuple[str, ...]:
        now = {f.name: f.sha256 for f in publication.files}
        return tuple(name for name, _ in named if name == MANIFEST or recorded.get(name) != now[name])

    @contextlib.contextmanager
    def _own_bars(self) -> Iterator[None]:
        """Show the client's progress bars, or none; a terminal that is drawn on twice is unreadable."""
        from huggingface_hub.utils.tqdm import (
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )

        before = are_progress_bars_disabled()
        if not self._bars and not before:
            disable_progress_bars()
        try:
            yield
        finally:
            if not self._bars and not before:
                enable_progress_bars()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the client's errors into one message, without the token, and without a chain that might hold it."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        problem: BakehouseError | None = None
        try:
            yield
        except (BakehouseError, KeyboardInterrupt):
            raise
        except OfflineModeIsEnabled:
            problem = UsageError("HF_HUB_OFFLINE is set, so nothing is uploaded", hint="unset it")
        except HfHubHTTPError as e:
            problem = self._refused(e)
        except ValueError as e:  # the Hub checks the card's fields
            problem = BakehouseError(f"the Hub refuses the model card: {self._token.hide_in(str(e))[:400]}")
        # The client's HTTP library has errors of its own, which differ between its versions.
        except Exception as e:
            first = e.__cause__ or e
            text = self._token.hide_in(f"{type(first).__name__}: {first}")[:400]
            problem = BakehouseError(f"the Hub cannot be reached ({text})", hint=_AGAIN)
        if problem is not None:
            raise problem from None

    def _refused(self, error: Any) -> BakehouseError:
        status = getattr(error.response, "status_code", 0)
        text = self._token.hide_in(str(error))[:400].strip()
        if status in (401, 403):
            return UsageError(
                f"the Hub refuses to write {self.repo} with the token from {self._token.source} ({status})",
                hint="the token needs write permission for it: https://huggingface.co/settings/tokens",
            )
        return BakehouseError(f"the Hub refuses {self.repo}: {text}", hint=_AGAIN)
