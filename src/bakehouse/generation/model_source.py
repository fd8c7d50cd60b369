"""What MODEL stands for: `crumb`, a folder, a checkpoint, a Hub id, a run or an adapter, as a base and its adapters."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.files_of_adapter import DIFFUSERS_FILE, PEFT_FILE
from bakehouse.core.model_catalogue import locate_model, model_names
from bakehouse.core.run_folder import Run
from bakehouse.generation.adapter_header import adapter_at, check_family, is_embedding, kind_of, weights_at
from bakehouse.generation.run_weights import selected_weights
from bakehouse.generation.training_settings import find_base, run_of, settings_from_metadata, whole_number

if TYPE_CHECKING:
    from bakehouse.core.model_catalogue.conventions import KnownBase
    from bakehouse.models.noise_schedule import PredictionType

ALLOWED = (
    "`crumb`, a diffusers folder, a .safetensors or .ckpt checkpoint, a Hub id (owner/name), a run folder, "
    "an adapter's .safetensors or PEFT folder, an embedding's .safetensors, or a name of `bakehouse models list`"
)
_HUB_ID = re.compile(r"^[\w][\w.-]*/[\w][\w.-]*$")


@dataclass(frozen=True)
class ModelSource:
    """A base model, its adapters, and what is known of how they were trained."""

    base: str
    """`crumb`, a path or a Hub id."""
    adapters: tuple[tuple[Path, float], ...] = ()
    """Files and their strengths."""
    title: str = ""
    """For headings and file names: the run's, the file's or the model's name."""
    ref: str = ""
    """MODEL as the user wrote it."""
    run: Run | None = None
    vae: str | None = None
    clip_skip: int = 1
    prediction: PredictionType | None = None
    """The prediction type that the training was set to; None: as the model's files say."""
    zero_terminal_snr: bool = False
    """Whether the training rescaled the noise schedule to zero terminal SNR. False: as the model's files say."""
    precision: str = "auto"
    """The precision of the training: auto, fp32, fp16 or bf16."""
    made_from: str = ""
    """The base model that a fine-tuned base was made from, as far as its run says."""
    conventions: str | None = None
    """The run's `model.conventions`."""

    @property
    def base_settings(self) -> tuple[object, ...]:
        """All that the loaded base depends on: sources with equal settings can share one."""
        return self.base, self.vae, self.prediction, self.zero_terminal_snr

    @property
    def usual(self) -> KnownBase | None:
        """The conventions of the base; for a fine-tuned base those of the model that it was made from."""
        from bakehouse.models.base_conventions import conventions_of

        return conventions_of(self.made_from or self.base, self.conventions)

    @property
    def guidance(self) -> float:
        """The default guidance: the base's usual one."""
        from bakehouse.models.base_conventions import USUAL_GUIDANCE

        usual = self.usual
        return USUAL_GUIDANCE if usual is None else usual.conventions.guidance


def resolve(
    ref: str | Path, *, base: str | Path | None = None, prediction: PredictionType | None = None
) -> ModelSource:
    """Return what MODEL stands for. Loads no weights and needs no network.

    Args:
        ref: crumb, a path, a Hub id or a name of `bakehouse models list`.
        base: the base model of an adapter that does not name one, or another than it names.
        prediction: overrides the prediction type in the base's files.

    Raises:
        UsageError: not a model, or an adapter whose base is not known.
        BakehouseError: a file is damaged.
    """
    text = str(ref).strip()
    source = replace(_resolve(text, Path(text).expanduser(), base), ref=text)
    return source if prediction is None else replace(source, prediction=prediction)


def replace_weights(source: ModelSource, ref: str | Path) -> ModelSource:
    """Return the source with other weights: another adapter in place of its own, or another model or run.

    An adapter is applied to the source's base, whatever its metadata say, at the strength of the one that it replaces.

    Raises:
        UsageError: no such weights.
        BakehouseError: a file is damaged.
    """
    path = weights_at(Path(ref).expanduser())
    if path is not None:
        check_family(path, source.base)
        new = replace(source, adapters=((path, 1.0),))
    else:
        new = replace(resolve(ref), title=source.title, ref=source.ref)
    if not source.adapters:
        return new
    return replace(new, adapters=tuple((p, source.adapters[0][1]) for p, _ in new.adapters))


def did_you_mean_beside(path: Path) -> str:
    """Return a suggestion from the names in the same folder and in the catalogue."""
    parent = path.parent if path.parent.is_dir() else Path()
    return did_you_mean(path.name, [*(p.name for p in parent.iterdir()), *model_names()])


def _resolve(text: str, path: Path, base: str | Path | None) -> ModelSource:
    if text == BUNDLED_BASE:
        return _whole_model(text, base)
    if path.is_dir():
        return _folder(path, base)
    if path.is_file():
        return _file(path, base)
    if _HUB_ID.match(text) and not path.parent.is_dir():
        return _whole_model(text, base)
    installed = locate_model(text, "base", "adapter")
    if installed is not None:
        return _resolve(installed, Path(installed), base)
    raise UsageError(f"{text!r} does not exist{did_you_mean_beside(path)}", hint=f"a model is {ALLOWED}")


def _whole_model(text: str, base: str | Path | None, *, title: str = "") -> ModelSource:
    if base is not None:
        raise UsageError(
            f"{text} is a whole model, so it takes no --base {base}",
            hint="--base is the base model of an adapter: pass the adapter as MODEL",
        )
    return ModelSource(text, title=title or text.rsplit("/", 1)[-1])


def _folder(path: Path, base: str | Path | None) -> ModelSource:
    if (path / "model_index.json").is_file():
        return _as_trained(_whole_model(str(path), base, title=path.resolve().name), path)
    if (path / "recipe.toml").is_file():
        return _run(Run(path), base)
    adapter = adapter_at(path)
    if adapter is not None:
        return replace(_adapter(adapter, base), title=path.resolve().name)
    parent = path.resolve().parent
    hint = f"a model is {ALLOWED}"
    if (parent / "recipe.toml").is_file():
        hint = f"it is inside a run folder: pass the run itself, {parent}, or one file"
    elif (path / "unet").is_dir():
        hint = "it has networks but no model_index.json, so it was not saved completely"
    raise UsageError(
        f"{path} is a folder without model_index.json (a model), recipe.toml (a run), {DIFFUSERS_FILE} or {PEFT_FILE} "
        "(an adapter)",
        hint=hint,
    )


def _file(path: Path, base: str | Path | None) -> ModelSource:
    suffix = path.suffix.lower()
    if suffix == ".ckpt":
        return _whole_model(str(path), base, title=path.stem)
    if suffix == ".toml":
        raise UsageError(
            f"{path} is a recipe, not a model",
            hint=f"train it with `bakehouse train {shlex.quote(str(path))}`, then pass the run folder",
        )
    if suffix != ".safetensors":
        raise UsageError(f"{path} is a {suffix or 'nameless'} file, not a model", hint=f"a model is {ALLOWED}")
    kind = kind_of(path).kind
    if kind in ("adapter", "embedding"):
        return _adapter(path, base)
    if kind != "checkpoint":
        raise UsageError(
            f"{path} holds no model, adapter or embedding; its kind is {kind!r}", hint=f"a model is {ALLOWED}"
        )
    return _whole_model(str(path), base, title=path.stem)


def _run(run: Run, base: str | Path | None) -> ModelSource:
    path, strength = selected_weights(run)
    if path.is_dir():
        return replace(_as_trained(_whole_model(str(path), base), path), title=run.name)
    source = replace(_adapter(path, base), title=run.name, run=run)
    return replace(source, adapters=((path, strength),))


def _adapter(path: Path, base: str | Path | None) -> ModelSource:
    from bakehouse.models.identify import read_adapter_header

    trained = settings_from_metadata(read_adapter_header(path).metadata)
    if base is None and run_of(path) is not None:
        return replace(_as_trained(ModelSource(BUNDLED_BASE), path), adapters=((path, 1.0),), title=path.stem)
    named = trained.get("base")
    found = str(base) if base is not None else find_base(named, path, is_hub_id=_HUB_ID.match(str(named)) is not None)
    if found is None:
        because = f"name {named!r}, which is not on this machine" if named else "do not name it"
        raise UsageError(
            f"{path} is {'an embedding' if is_embedding(path) else 'an adapter'}, and its base model is not known: its "
            f"metadata {because}",
            hint="pass its base model: --base crumb, --base MODEL.safetensors or --base owner/name",
        )
    root = resolve(found)
    if root.adapters:
        raise UsageError(
            f"--base {found} is an adapter, or the run of one",
            hint="--base takes a whole model: pass that adapter's base",
        )
    check_family(path, root.base)
    return replace(
        root,
        adapters=((path, 1.0),),
        title=path.stem,
        vae=trained.get("vae") or root.vae,
        prediction=trained.get("prediction") or root.prediction,
        zero_terminal_snr=bool(trained.get("zero_terminal_snr")),
        clip_skip=whole_number(trained.get("clip_skip")) or root.clip_skip,
    )


def _as_trained(source: ModelSource, path: Path) -> ModelSource:
    """Return the source with its run's settings, for weights inside a run; under an adapter, with the run's base."""
    from bakehouse.recipe.recipe import Recipe

    run = run_of(path)
    if run is None:
        return source
    recipe = Recipe.load(run.recipe)
    whole = path.is_dir()  # a saved model carries its own autoencoder
    return replace(
        source,
        base=source.base if whole else recipe.model.base,
        vae=None if whole else recipe.model.vae,
        clip_skip=recipe.model.clip_skip,
        prediction=recipe.model.prediction,
        zero_terminal_snr=recipe.noise.zero_terminal_snr,
        precision=recipe.train.precision,
        made_from=recipe.model.base if whole else "",
        conventions=recipe.model.conventions,
        run=run,
    )
