"""The plan of an extension of a dataset: the run that generates, the existing images, and the prompts."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bakehouse.audit.audit_options import AuditSpec, Limits
from bakehouse.audit.report import Finding
from bakehouse.audit.run_audit import audit
from bakehouse.core.errors import UsageError
from bakehouse.core.run_folder import Run
from bakehouse.core.settings import Spec
from bakehouse.data.image_records import ImageSet
from bakehouse.data.scan import scan
from bakehouse.evaluation.image_cache import AdapterVariant
from bakehouse.evaluation.result import Report
from bakehouse.models.families import family_of
from bakehouse.recipe.recipe import ConceptSpec, Recipe
from bakehouse.synthesis.aspects import Aspect, AspectName, aspects_of, plan_values

MOST_BY_DEFAULT = 24
"""Most images that are asked for by default."""


OF_VARIETY = ("E01", "B11", "B12")
"""Checks of the audit about variety: too few images, one framing, one background."""


class ExtendSpec(Spec):
    """Settings of `dataset extend`: what is generated, and what is offered for review."""

    count: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Images wanted. None: as many as the dataset has, 24 at most, but as many as the audit asks for."""
    tries: Annotated[int, Field(ge=1, le=50)] = 4
    """Images drawn of one prompt, at most, until one passes."""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Decides the prompts and the seeds of the images."""
    aspects: tuple[AspectName, ...] = ()
    """In what the images are to differ: framing, view, place, outfit. Empty: in all that apply to the subject."""
    least_fidelity: Annotated[float, Field(ge=-2, le=1)] | None = None
    """Subject fidelity from which an image passes. None: as the run's evaluation found it for this subject."""


@dataclass(frozen=True)
class Wanted:
    """One image to draw."""

    prompt: str
    """Also its caption."""
    bare_prompt: str
    """With the class in place of the subject."""


@dataclass(frozen=True)
class Extension:
    """An extension of a dataset by a run, before anything is drawn."""

    run: Run
    recipe: Recipe
    report: Report
    images: ImageSet
    spec: ExtendSpec
    findings: tuple[Finding, ...]
    """The audit's findings about the dataset's variety."""
    aspects: tuple[Aspect, ...]
    wanted: tuple[Wanted, ...]

    @classmethod
    def make(cls, run: Run, folder: Path | str, spec: ExtendSpec) -> Extension:
        """Find what the dataset lacks; no model is loaded.

        Args:
            run: an evaluated run of the subject.
            folder: the dataset to extend.
            spec: the settings.

        Raises:
            UsageError: the run was not evaluated, no checkpoint was picked, it is a style or a slider, or there are no
                images.
        """
        recipe = Recipe.load(run.recipe)
        if recipe.kind in ("slider", "style"):
            raise UsageError(
                f"{run.folder} is the run of a {recipe.kind}; a dataset is extended by a run of its subject",
                hint="images of a style are drawn with `bakehouse generate RUN --templates contents`",
            )
        report = Report.load(run)
        if not report.pick.weights:
            quoted = shlex.quote(str(run.folder))
            raise UsageError(
                f"no checkpoint of {run.folder} was picked, so none is good enough to generate with: {report.pick.why}",
                hint=f"`bakehouse evaluate {quoted}` says what to change; train again, then extend",
            )
        images = scan(folder)
        concept = report.concept
        family = family_of(recipe.model.base)
        found = aspects_of(concept, recipe.kind, images, spec.aspects, bundled=family.bundled)
        usual = max(min(len(images), MOST_BY_DEFAULT), Limits().images - len(images))
        count = usual if spec.count is None else spec.count
        planned = plan_values(found, count, spec.seed)
        wanted = [_wanted(concept, [tag for _, tag in values if tag]) for values in planned]
        said = audit(folder, AuditSpec(text=False)).findings
        findings = tuple(f for f in said if f.id in OF_VARIETY and f.level != "info")
        return cls(run, recipe, report, images, spec, findings, found, tuple(wanted))

    @property
    def concept_number(self) -> int:
        """Index of the evaluated concept in the recipe."""
        folder = self.report.concept.folder
        return next((i for i, c in enumerate(self.recipe.concepts) if c.folder == folder), 0)

    @property
    def variant(self) -> AdapterVariant:
        """The weights and the strength that the evaluation picked."""
        return AdapterVariant(self.run.folder / self.report.pick.weights, self.report.pick.strength)


def _wanted(concept: ConceptSpec, tags: list[str]) -> Wanted:
    heads = concept.subject, concept.class_name or "thing"
    prompt, bare = (", ".join([head, *tags]) for head in heads)
    return Wanted(prompt, bare)
