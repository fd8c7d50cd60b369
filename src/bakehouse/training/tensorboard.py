"""TensorBoard log of a run's events."""

from __future__ import annotations

import shutil

import numpy as np

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Sampled, Step
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image


class TensorBoard:
    """Writes the run's tensorboard/ folder; a resumed run writes its past again, so that curves have no forks."""

    def __init__(self, run: Run) -> None:
        """Start a new log.

        Raises:
            UsageError: tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as e:
            raise UsageError(
                "save.tensorboard = true: tensorboard is not installed", hint="pip install 'bakehouse[tensorboard]'"
            ) from e
        self.run = run
        folder = run.folder / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder))

    def rewind(self, step: int) -> None:
        """Add the run's recorded events up to `step`."""
        for event in self.run.history():
            if getattr(event, "step", step + 1) <= step:
                self.add(event)

    def add(self, event: Event) -> None:
        """Add losses, learning rates and speed as curves, and samples as images."""
        if isinstance(event, Step):
            values = {
                "loss/all": event.loss,
                "loss/subject": event.subject_loss,
                "loss/prior": event.prior_loss,
                **{f"lr/{name}": rate for name, rate in event.rates.items()},
                "images_per_s": event.images_per_s,
            }
            for name, value in values.items():
                if value is not None:
                    self.writer.add_scalar(name, value, event.step)
        elif isinstance(event, Sampled) and (path := self.run.folder / event.path).is_file():
            pixels = np.asarray(open_image(path))
            name = "sample/" + path.stem.rsplit("-", 1)[-1]
            self.writer.add_image(name, pixels, event.step, dataformats="HWC")

    def close(self) -> None:
        """Write what is buffered, and close the log."""
        self.writer.close()
