"""A project: one subject, its photos, its runs, what was answered, and the copy of all this elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError
from bakehouse.core.file_names import file_name_problem
from bakehouse.core.files import read_json, write_json, writing_to
from bakehouse.core.run_folder import Run
from bakehouse.core.settings import Spec
from bakehouse.notebook.commands import Commands
from bakehouse.notebook.kept_copy import KeptCopy

ANSWERS, PHOTOS, RECIPE, RUNS, PICTURES, PUBLISHED = (
    "answers.json", "photos", "recipe.toml", "runs", "pictures", "published",
)  # fmt: skip


class Answers(Spec):
    """What the user has answered; saved, so that the same cells go on where they were."""

    subject: str = ""
    """Trigger and class word."""
    kind: Literal["character", "object", "style"] = "character"
    base: str = BUNDLED_BASE
    recipe_settings: tuple[str, ...] = ()
    """More settings of the recipe, each `KEY=VALUE`."""
    detect: bool = True
    """Whether photos are also looked through for faces and text, which takes longer."""
    run: int = 1
    """Number of the run; each new training has another."""
    training: Literal["", "wanted", "stopped"] = ""
    """Whether a training was begun, and whether the user has stopped it."""


class Project:
    """A project's folder.

    Args:
        folder: where it is on this machine; made if it is missing.
        copy: where a copy is kept; None: nowhere.

    Raises:
        UsageError: the folder's name cannot name a file, or its answers are of another version.
        BakehouseError: the folder cannot be written.
    """

    def __init__(self, folder: Path, copy: str | None) -> None:
        if why := file_name_problem(folder.name):
            raise UsageError(f"the project {folder.name!r} cannot name a folder: {why}")
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.copy_url = folder, copy
        self.commands = Commands(folder)
        self._copy = None if copy is None else KeptCopy(f"{copy.rstrip('/')}/{folder.name}", folder)

    @property
    def photos(self) -> Path:
        return self.folder / PHOTOS

    @property
    def pictures(self) -> Path:
        return self.folder / PICTURES

    @property
    def run_name(self) -> str:
        """The run's folder, relative to the project."""
        return f"{RUNS}/run-{self.answers.run}"

    @property
    def run(self) -> Run:
        return Run(self.folder / self.run_name)

    @property
    def run_recipe(self) -> str:
        """The recipe that the run began with, a file of the project; a new plan does not change it."""
        return f"run-{self.answers.run}.toml"

    @property
    def mirror(self) -> str | None:
        """Where trainings copy their runs: `save.mirror`."""
        return None if self._copy is None else f"{self._copy.url}/{RUNS}"

    @property
    def answers(self) -> Answers:
        """What was answered so far.

        Raises:
            Problems: the file is of another version.
        """
        path = self.folder / ANSWERS
        return Answers.parse(read_json(path), source=str(path)) if path.is_file() else Answers()

    def answer(self, **changes: Any) -> Answers:
        """Save answers.

        Raises:
            Problems: a value is not allowed.
        """
        answers = Answers.parse({**self.answers.model_dump(mode="json"), **changes}, source="the answers")
        write_json(self.folder / ANSWERS, answers.model_dump(mode="json"))
        return answers

    def restore(self) -> bool:
        """Copy the project back where this machine does not have it; whether there was one.

        Raises:
            BakehouseError: the copy cannot be reached, or is damaged.
        """
        if self._copy is None or (self.folder / ANSWERS).is_file():
            return False
        return self._copy.restore(last=ANSWERS)

    def keep(self) -> None:
        """Copy what is new. The run itself is copied by its training.

        Raises:
            BakehouseError: the copy cannot be written.
        """
        if self._copy is None:
            return
        files = [ANSWERS, RECIPE, self.run_recipe]
        for folder in (PICTURES, f"{self.run_name}/report"):
            for path in sorted((self.folder / folder).rglob("*")):
                name = path.relative_to(self.folder).as_posix()
                if path.is_file() and "/cache/" not in name and not path.name.startswith("."):
                    files.append(name)
        self._copy.keep(files, archived=PHOTOS)

    def images(self) -> list[Path]:
        """Return the photos, in the order of their names."""
        from bakehouse.data.scan import list_files, natural_key

        if not self.photos.is_dir():
            return []
        return sorted(list_files(self.photos).images, key=lambda path: natural_key(path, self.photos))

    @property
    def is_planned(self) -> bool:
        """Whether the recipe was written after the last change of the photos and answers."""
        recipe, answers = self.folder / RECIPE, self.folder / ANSWERS
        if not recipe.is_file() or not answers.is_file():
            return False
        inputs = (answers, self.photos, *self.photos.rglob("*"))
        return recipe.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in inputs)

    def need_photos(self) -> None:
        """Check that there are photos.

        Raises:
            UsageError: there are none.
        """
        if not self.images():
            raise UsageError("there are no photos yet", hint="add some in the panel Photos")

    def need_subject(self) -> None:
        """Check that the subject has a name.

        Raises:
            UsageError: it has none.
        """
        self.need_photos()
        if not self.answers.subject:
            raise UsageError("the subject has no name yet", hint="fill in the panel Name and kind, and press Save")

    def need_weights(self) -> None:
        """Check that something was trained.

        Raises:
            UsageError: nothing was, or it still trains.
        """
        if self.commands.is_running("train"):
            raise UsageError("the training is still at work", hint="wait until it has ended, or stop it")
        if not self.run.list_weights():
            raise UsageError("nothing is trained yet", hint="press Train in the panel Training")
