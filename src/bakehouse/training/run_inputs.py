"""The inputs of a run, saved as its inputs.json: a resumed run uses them even if their sources have changed since.

Small inputs are saved in full: the resolved recipe, compiled captions, each image's bucket and crop. Large ones are
saved as hashes, and compared when the run is resumed: images, masks, class images, the base model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.adapters import NetworkSpec
from bakehouse.adapters.peft_format import CONFIG
from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import key_of, read_checked, sha256_file, write_checked
from bakehouse.core.files_of_adapter import adapter_files
from bakehouse.core.run_folder import Run
from bakehouse.data.augment import face_box
from bakehouse.data.buckets import Placement
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.scan import scan
from bakehouse.recipe import Decision, Plan, PlannedImage, Recipe, make_plan, scan_concepts
from bakehouse.recipe.class_image_list import ClassImage
from bakehouse.recipe.cost_estimate import Estimate

_VERSION = 1


@dataclass(frozen=True)
class SourceImage:
    """A training image as its files are, before its captions are compiled."""

    record: ImageRecord
    mask_sha256: str = ""
    face: tuple[float, ...] = ()
    """The face box (left, top, width, height), where crops are made around faces."""


@dataclass(frozen=True)
class RunInputs:
    """All that determines the result of a run."""

    requested: Mapping[str, Any]
    """The recipe's settings as the user gave them, before the plan filled in the others."""
    plan: Plan
    """The plan of that recipe, complete but for `train.batch = "auto"`, whose number is in `batch` once it is found."""
    sources: tuple[SourceImage, ...]
    """In the order of `plan.images`."""
    start_sha256: str = ""
    """Hash of the adapter that training starts from; empty: none."""
    batch: Mapping[str, int] = field(default_factory=dict)
    """`batch` and `accumulation` that were found for `train.batch = "auto"`."""
    base: Mapping[str, str] = field(default_factory=dict)
    """sha256 of the base model's files by their names, from its first loading on."""
    class_images: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each generated class image by its name in the cache."""
    unverified: bool = False
    """Reconstructed after inputs.json was lost: not saved before a state of the run is found to have this digest."""

    @classmethod
    def from_recipe(cls, recipe: Recipe, images: ImageSet | None = None) -> RunInputs:
        """Return the inputs of a new run: plan the training and hash its files.

        Raises:
            UsageError: the model or a folder does not exist.
            Problems: all settings that cannot work together.
        """
        images = images if images is not None else scan_concepts(recipe)
        plan = make_plan(recipe, images)
        sources = tuple(read_sources(plan.recipe, images))
        return cls(recipe.settings(mode="json"), plan, sources, start_sha256=start_sha256(plan.recipe))

    @classmethod
    def load(cls, run: Run) -> RunInputs:
        """Return the inputs that a run has saved.

        Raises:
            DamagedError: inputs.json is missing or damaged.
            BakehouseError: it was written by a later version.
        """
        value = read_checked(run.inputs)
        if value.get("version") != _VERSION:
            raise BakehouseError(
                f"{run.inputs} has format version {value.get('version')}; this version of bakehouse reads {_VERSION}",
                hint="resume with the version of bakehouse that started the run, or start a new run with --run OTHER",
            )
        images = [_image_from(entry) for entry in value["images"]]
        plan = Plan(
            recipe=Recipe.parse(value["recipe"], source=str(run.inputs)),
            decisions=tuple(Decision(**d) for d in value["decisions"]),
            warnings=tuple(value["warnings"]),
            images=tuple(planned for planned, _ in images),
            class_images=tuple(ClassImage(**c) for c in value["class_images_to_make"]),
            epochs=value["epochs"],
            steps_per_epoch=value["steps_per_epoch"],
            steps=value["steps"],
            estimate=Estimate(**value["estimate"]),
        )
        later = {name: value[name] for name in ("start_sha256", "batch", "base", "class_images")}
        return cls(value["asked"], plan, tuple(source for _, source in images), **later)

    def save(self, run: Run) -> RunInputs:
        """Write inputs.json, unless the inputs are unverified, and return them."""
        if not self.unverified:
            write_checked(run.inputs, self.to_json())
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the contents of inputs.json, which `load` reads."""
        plan = self.plan
        return {
            "version": _VERSION,
            "asked": self.requested,
            "recipe": plan.recipe.settings(mode="json"),
            "decisions": [dataclasses.asdict(d) for d in plan.decisions],
            "warnings": list(plan.warnings),
            "images": [_image_to(p, s) for p, s in zip(plan.images, self.sources, strict=True)],
            "class_images_to_make": [c.to_json() for c in plan.class_images],
            "epochs": plan.epochs,
            "steps_per_epoch": plan.steps_per_epoch,
            "steps": plan.steps,
            "estimate": dataclasses.asdict(plan.estimate),
            "start_sha256": self.start_sha256,
            "batch": dict(self.batch),
            "base": dict(self.base),
            "class_images": dict(self.class_images),
        }

    @property
    def resolved_plan(self) -> Plan:
        """The plan, with the batch that was found where the recipe left it to be found."""
        if self.plan.recipe.train.batch != "auto" or not self.batch:
            return self.plan
        return self.plan.with_batch(**self.batch, reason="the largest that fits, found by trying")

    @property
    def digest(self) -> str:
        """A hash of what determines the result: two runs with the same digest end with the same weights."""
        irrelevant = {"asked", "decisions", "warnings", "estimate"}
        facts = {name: value for name, value in self.to_json().items() if name not in irrelevant}
        # A missing key and null are the same in TOML.
        recipe = self.plan.recipe
        values = {"version": recipe.version, **recipe.settings(mode="json")}
        return key_of(facts | {"recipe": _without_none(_decisive(recipe, values))})

    def raw_images(self) -> ImageSet:
        """Return the subject images with the captions of their files."""
        pairs = zip(self.plan.images, self.sources, strict=True)
        return ImageSet(tuple(source.record for planned, source in pairs if not planned.prior))


def decisive_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that the result of a training depends on, defaults included."""
    return _decisive(recipe, recipe.model_dump(mode="json"))


def _decisive(recipe: Recipe, values: dict[str, Any]) -> dict[str, Any]:
    """Leave out where copies are kept, the number of devices and what they share, and `evaluate` unless it decides when
    the training ends.

    All may be changed during a run.
    """
    values = without_devices(values)
    if "mirror" in values.get("save", {}):
        values = {**values, "save": {k: v for k, v in values["save"].items() if k != "mirror"}}
        values = {k: v for k, v in values.items() if k != "save" or v}
    return values if recipe.stop.when == "learned" else {k: v for k, v in values.items() if k != "evaluate"}


def without_devices(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the number of devices, and whether they share the weights, out of a recipe's settings."""
    train = {k: v for k, v in values.get("train", {}).items() if k not in ("devices", "shard")}
    return {k: v for k, v in values.items() if k != "train"} | ({"train": train} if train else {})


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


def read_sources(recipe: Recipe, images: ImageSet) -> Iterator[SourceImage]:
    """Yield the concepts' images, then the user's own class images, with the hashes of their files now."""
    own = scan(recipe.prior.folder).records if recipe.prior.folder else ()
    faces = recipe.data.augment.face_crop is not None
    for record in [*images.records, *own]:
        mask = sha256_file(record.mask) if record.mask is not None else ""
        yield SourceImage(record, mask, (face_box(record) or ()) if faces else ())


def start_sha256(recipe: Recipe) -> str:
    """Return the hash of the adapter that training starts from, PEFT's settings included; empty if there is none."""
    adapter = recipe.adapter
    start = adapter.start if isinstance(adapter, NetworkSpec) else None
    if start is None or not start.exists():
        return ""
    if start.is_file():
        return sha256_file(start)
    files = [f for file in adapter_files(start).values() for f in (file, file.parent / CONFIG) if f.is_file()]
    return key_of(*map(sha256_file, files))


def _image_to(planned: PlannedImage, source: SourceImage) -> dict[str, Any]:
    record = source.record
    return {
        "path": str(record.path),
        "sha256": record.sha256,
        "size": [record.width, record.height],
        "has_alpha": record.has_alpha,
        "concept": record.concept,
        "captions": list(planned.record.captions),
        "captions_in_files": list(record.captions),
        "caption_path": str(record.caption_path) if record.caption_path else None,
        "mask": str(record.mask) if record.mask else None,
        "mask_sha256": source.mask_sha256,
        "face": list(source.face),
        "placement": dataclasses.asdict(planned.placement),
        "repeats": planned.repeats,
        "prior": planned.prior,
    }


def _image_from(value: Mapping[str, Any]) -> tuple[PlannedImage, SourceImage]:
    raw = ImageRecord(
        path=Path(value["path"]),
        width=value["size"][0],
        height=value["size"][1],
        sha256=value["sha256"],
        captions=tuple(value["captions_in_files"]),
        caption_path=Path(value["caption_path"]) if value["caption_path"] else None,
        concept=value["concept"],
        mask=Path(value["mask"]) if value["mask"] else None,
        has_alpha=value["has_alpha"],
    )
    placed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in value["placement"].items()}
    compiled = dataclasses.replace(raw, captions=tuple(value["captions"]))
    planned = PlannedImage(compiled, Placement(**placed), value["repeats"], prior=value["prior"])
    return planned, SourceImage(raw, value["mask_sha256"], tuple(value["face"]))
