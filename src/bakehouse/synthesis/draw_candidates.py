"""Generate and judge the images of an extension. An interrupted call resumes; a finished one is not repeated."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.core.events import Event, Noted, Progress, Warned
from bakehouse.core.files import key_of, write_bytes, write_text
from bakehouse.core.folder_lock import locked
from bakehouse.core.message_text import counted, listed
from bakehouse.curation.output_images import encode_png
from bakehouse.data.provenance import Provenance, read_provenance
from bakehouse.evaluation.evaluate_run import EvaluationRun
from bakehouse.evaluation.image_cache import ImageGenerator
from bakehouse.evaluation.image_scorers import ImageScorer
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.synthesis.candidates import FOLDER, RECORD, Candidate, Candidates, write_accept
from bakehouse.synthesis.extension import Extension
from bakehouse.synthesis.judge import Judge
from bakehouse.synthesis.sheet import write_sheet


def draw_candidates(
    extension: Extension,
    *,
    scorer: ImageScorer | None = None,
    generator: ImageGenerator | None = None,
    device: str = "auto",
) -> Generator[Event, None, Candidates]:
    """Draw images that the dataset lacks, judge each, and lay those that pass before the user; yield events.

    Each prompt is tried again with another seed until an image passes, `tries` times at most. Images, their captions, a
    page and accept.txt are in a folder of the run, which depends on the weights, the dataset and the settings. The
    dataset is only read.

    Args:
        extension: what is wanted.
        scorer: in place of the default for the base.
        generator: in place of a pipeline on the recipe's base.
        device: device on which images are drawn.

    Raises:
        UsageError: the scorer is missing.
        BakehouseError: a file is damaged, or another process works in the run folder.
    """
    run, report = extension.run, extension.report
    with locked(run.folder, "extending a dataset") as warnings:
        for message in warnings:
            yield Warned(message=message)
        evaluation = EvaluationRun.make(
            run, extension.recipe, report.spec, {}, extension.concept_number, scorer, generator, device
        )
        evaluation.cache.settings = report.settings
        folder = run.folder / FOLDER / _key(extension, evaluation)
        if (folder / RECORD).is_file():
            yield Noted(message="these images were generated before; nothing is generated again")
            return Candidates.load(folder)
        baseline = yield from evaluation.score_baseline(report.prompts)
        judge = Judge(evaluation, baseline, extension.images.records, extension.spec.least_fidelity)
        drawing = _Drawing(extension, evaluation, judge, folder)
        yield from drawing.draw()
        candidates = Candidates(
            folder,
            str(extension.images.root.resolve()),
            report.pick.weights,
            report.pick.strength,
            extension.spec.settings(mode="json"),
            tuple(drawing.judged),
        )
        yield from _lay_out(candidates, extension)
        return candidates


@dataclass
class _Drawing:
    """Images that are drawn and judged, round by round."""

    extension: Extension
    evaluation: EvaluationRun
    judge: Judge
    folder: Path
    judged: list[Candidate] = field(default_factory=list)

    def draw(self) -> Generator[Event, None, None]:
        """Draw each image that is wanted until it passes."""
        spec, wanted = self.extension.spec, self.extension.wanted
        left = list(range(len(wanted)))
        done = 0
        for attempt in range(spec.tries):
            some = [
                Candidate(
                    f"{number + 1:03d}-{attempt + 1}.png",
                    wanted[number].prompt,
                    wanted[number].bare_prompt,
                    spec.seed + number * spec.tries + attempt,
                )
                for number in left
            ]
            for _ in self._images(some):
                done += 1
                yield Progress(what="drawing images", done=done, total=done + len(some) - 1)
            kept = [self._path(c) for c in self.judged if c.passed]
            found = self.judge(some, [self._path(c) for c in some], kept)
            self.judged += found
            left = [number for number, candidate in zip(left, found, strict=True) if not candidate.passed]
            if not left:
                break

    def _images(self, some: Sequence[Candidate]) -> Generator[Path, None, None]:
        """Draw the images that do not exist yet; each is saved at once."""
        missing = [c for c in some if not self._is_drawn(c)]
        yield from (self._path(c) for c in some if c not in missing)
        prompts = [EvalPrompt("subject", c.prompt, c.bare_prompt, c.seed) for c in missing]
        if not prompts:
            return
        cache = self.evaluation.cache
        drawn = cache.generator.generate(self.extension.variant, prompts, cache.settings)
        for candidate, image in zip(missing, drawn, strict=True):
            yield write_bytes(self._path(candidate), encode_png(image.convert("RGB"), self._provenance(candidate)))

    def _is_drawn(self, candidate: Candidate) -> bool:
        path = self._path(candidate)
        return path.is_file() and read_provenance(path) == self._provenance(candidate)

    def _path(self, candidate: Candidate) -> Path:
        return self.folder / "drawn" / candidate.name

    def _provenance(self, candidate: Candidate) -> Provenance:
        settings, pick = self.evaluation.cache.settings, self.extension.report.pick
        details: dict[str, Any] = {
            "by": "dataset extend",
            "prompt": candidate.prompt,
            "quality": settings.quality,
            "negative": settings.negative,
            "seed": candidate.seed,
            "steps": settings.steps,
            "guidance": settings.guidance,
            "sampler": settings.sampler,
            "base": self.extension.recipe.model.base,
            "strength": pick.strength,
        }
        return Provenance("drawn", (f"{self.extension.run.name}/{pick.weights}",), details)


def _lay_out(candidates: Candidates, extension: Extension) -> Generator[Event, None, None]:
    """Write captions, accept.txt, the page and the record, which says that all is there."""
    for candidate in candidates.passed:
        write_text(candidates.caption_path(candidate), f"{candidate.prompt}\n")
    write_accept(candidates)
    write_sheet(candidates, extension)
    candidates.save()
    without = len(extension.wanted) - len(candidates.passed)
    if without:
        prompts = [wanted.prompt for wanted in extension.wanted]
        passed = [candidate.prompt for candidate in candidates.passed]
        failed = [prompt for prompt in dict.fromkeys(prompts) if prompts.count(prompt) > passed.count(prompt)]
        tries = counted(extension.spec.tries, "try")
        yield Warned(message=f"of {counted(without, 'prompt')} no image passed in {tries}: {listed(failed, 4)}")


def _key(extension: Extension, evaluation: EvaluationRun) -> str:
    """Return the name of the folder: of the weights, the dataset with its captions, and the settings."""
    weights = evaluation.cache.generator.key(extension.variant)
    images = [(record.sha256, *record.captions) for record in extension.images]
    asked = [wanted.prompt for wanted in extension.wanted]
    settings = sorted(extension.spec.settings(mode="json").items())
    return key_of("extend 1", weights, repr(evaluation.cache.settings), images, asked, settings)[:8]
