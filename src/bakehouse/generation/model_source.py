"""What MODEL means: `crumb`, a folder, a checkpoint, a Hub id, a run, an adapter: each comes to a base and adapters."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakehouse.core.adapter_paths import DIFFUSERS_FILE, PEFT_FILE
from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.events import Saved
from bakehouse.core.files import read_json
from bakehouse.core.json_toml_yaml import parse_toml
from bakehouse.core.model_catalogue import find_model, locate_model, model_names
from bakehouse.core.run_folder import Run
from bakehouse.generation.adapter_header import adapter_at, check_family, kind_of

if TYPE_CHECKING:
    from bakehouse.models.noise_schedule import PredictionType
    from bakehouse.recipe.recipe import Recipe

ALLOWED = (
    "`crumb`, a diffusers folder, a .safetensors or .ckpt checkpoint, a Hub id (owner/name), a run folder, "
    "an adapter's .safetensors or PEFT folder, or a name of `bakehouse models list`"
)
RECIPE_KEY = "bakehouse.recipe"
"""Where adapters of ours keep their recipe, in metadata."""

_HUB_ID = re.compile(r"^[\w][\w.-]*/[\w][\w.-]*$")
_EPOCH = re.compile(r"-(?:step)?(\d{6,8})$")


@dataclass(frozen=True)
class Source:
    """A base model, the adapters that go on it, and what is known of how they were trained."""

    base: str
    """`crumb`, a path or a Hub id."""
    adapters: tuple[tuple[Path, float], ...] = ()
    """Files and their weights."""
    title: str = ""
    """For headings and file names: the run's, the file's or the model's name."""
    ref: str = ""
    """What the user wrote."""
    run: Run | None = None
    vae: str | None = None
    clip_skip: int = 1
    prediction: PredictionType | None = None
    """What the UNet predicts, where the training was told; None: as the model's files say."""
    zero_terminal_snr: bool = False
    """Whether the training went on to pure noise: its pictures begin there. False: as the model's files say."""
    precision: str = "auto"
    """What the training computed in: auto, fp32, fp16 or bf16."""

    @property
    def loads(self) -> tuple[object, ...]:
        """What the loaded base depends on: sources that agree in it can share one."""
        return self.base, self.vae, self.prediction, self.zero_terminal_snr

    @property
    def guidance(self) -> float:
        """The guidance that the base draws best with."""
        return 3.0 if self.base == "crumb" else 7.0


def resolve(ref: str | Path, *, base: str | Path | None = None, prediction: PredictionType | None = None) -> Source:
    """What the user means by `ref`. Loads no weights and asks no network.

    Args:
        ref: crumb, a path or a Hub id.
        base: the base model, where `ref` is an adapter that does not name its own, or shall go on another.
        prediction: what the base's UNet predicts, where its files say nothing or the wrong thing.

    Raises:
        UsageError: it is nothing of the kind; or an adapter whose base is not known.
        BakehouseError: a file is damaged.
    """
    text = str(ref).strip()
    source = replace(_resolve(text, Path(text).expanduser(), base), ref=text)
    return source if prediction is None else replace(source, prediction=prediction)


def _resolve(text: str, path: Path, base: str | Path | None) -> Source:
    if text == "crumb":
        return _plain(text, base)
    if path.is_dir():
        return _folder(path, base)
    if path.is_file():
        return _file(path, base)
    if _HUB_ID.match(text) and not path.parent.is_dir():
        return _plain(text, base)
    shelved = locate_model(text, "base", "adapter")
    if shelved is not None:
        return _resolve(shelved, Path(shelved), base)
    raise UsageError(f"{text!r} does not exist{_similar(path)}", hint=f"a model is {ALLOWED}")


def beside(source: Source, texts: Sequence[str]) -> tuple[tuple[Path, float], ...]:
    """More adapters for a source, as files and weights: `a.safetensors:0.7`, `runs/x`, `runs/x:0.5`, `name:-1`.

    Without a number a file counts 1, a run as much as its evaluation picked. Headers are read, no weights.

    Raises:
        UsageError: no such thing, no number, a whole model, or made for another family than the base's.
        BakehouseError: a file is damaged.
    """
    found = tuple(_weighted(text.strip()) for text in texts)
    for path, _ in found:
        check_family(path, source.base)
    return found


def _weighted(text: str) -> tuple[Path, float]:
    ref, colon, number = text.rpartition(":")
    if not colon or Path(text).expanduser().exists():
        return _one_adapter(text)
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise UsageError(f"--adapter {text}: {number!r} is no weight", hint="write FILE:0.7; FILE alone counts 1")
    return _one_adapter(ref)[0], weight


def _one_adapter(text: str) -> tuple[Path, float]:
    """A file with its weight, of anything that comes to one adapter."""
    path = Path(text).expanduser()
    if not path.exists():
        shelved = locate_model(text, "adapter")
        if shelved is None:
            raise UsageError(
                f"adapter {text!r} does not exist{_similar(path)}",
                hint="an adapter is a .safetensors file, a folder of diffusers or PEFT, or a run",
            )
        path = Path(shelved)
    weight = 1.0
    if (path / "recipe.toml").is_file():
        path, weight = _picked(Run(path))
    found = adapter_at(path)
    if found is None:
        raise UsageError(
            f"{text} is no adapter" + (": it is a whole model" if _is_model(path) else ""),
            hint="--adapter takes .safetensors files of adapters, folders that diffusers or PEFT wrote, and runs; "
            "a whole model goes first",
        )
    return found, weight


def _is_model(path: Path) -> bool:
    return (path / "model_index.json").is_file()


def swapped(source: Source, ref: str | Path) -> Source:
    """The source with other weights in the place of its own: an adapter for an adapter, or a whole model or run.

    An adapter goes on the base that is there, whatever its metadata say, at the weight of the one before it.

    Raises:
        UsageError: no such thing.
        BakehouseError: a file is damaged.
    """
    path = adapter_at(Path(ref).expanduser())
    if path is not None:
        check_family(path, source.base)
        new = replace(source, adapters=((path, 1.0),))
    else:
        new = replace(resolve(ref), title=source.title, ref=source.ref)
    if not source.adapters:
        return new
    return replace(new, adapters=tuple((p, source.adapters[0][1]) for p, _ in new.adapters))


def run_weights(run: Run) -> list[Path]:
    """A run's weights in the order they were made; the last is what the training ended with.

    Raises:
        UsageError: there are none yet.
    """
    found = run.list_weights()
    if not found:
        raise UsageError(
            f"the run {run.folder} has no weights yet",
            hint="`bakehouse train` with the same recipe goes on where it stopped",
        )
    noted = {Path(e.path).name: e.step for e in run.history() if isinstance(e, Saved)}

    def order(path: Path) -> tuple[float, str]:
        # A file without a number is the last; by name alone it would stand before its own longer forms.
        number = noted.get(path.name, _number(path))
        return (float("inf") if number is None else number, path.name)

    return sorted(found, key=order)


def epochs(run: Run) -> dict[int, Path]:
    """The weights that end an epoch, by the epoch's number.

    The run's own notes say it; files that they do not name are read by kohya's rule: NAME-000004 ends epoch 4.
    """
    noted = {Path(e.path).name: e.epoch for e in run.history() if isinstance(e, Saved)}
    found: dict[int, Path] = {}
    for path in run_weights(run):
        if "-step" in path.name:
            continue
        number = noted.get(path.name, _number(path))
        if number is None:
            number = max(found, default=0) + 1
        found[number] = path
    return dict(sorted(found.items()))


def _number(path: Path) -> int | None:
    stem = path.stem if path.suffix == ".safetensors" else path.name
    match = _EPOCH.search(stem)
    return int(match[1]) if match else None


def _plain(text: str, base: str | Path | None, *, title: str = "") -> Source:
    if base is not None:
        raise UsageError(
            f"{text} is a whole model, so it takes no --base {base}",
            hint="--base names the model that an adapter goes on; put the adapter first",
        )
    return Source(text, title=title or text.rsplit("/", 1)[-1])


def _folder(path: Path, base: str | Path | None) -> Source:
    if (path / "model_index.json").is_file():
        return _with_run(_plain(str(path), base, title=path.resolve().name), path)
    if (path / "recipe.toml").is_file():
        return _run(Run(path), base)
    adapter = adapter_at(path)
    if adapter is not None:
        return replace(_adapter(adapter, base), title=path.resolve().name)
    parent = path.resolve().parent
    hint = f"a model is {ALLOWED}"
    if (parent / "recipe.toml").is_file():
        hint = f"it lies in a run folder: name the run itself, {parent}, or one file"
    elif (path / "unet").is_dir():
        hint = "it has networks but no model_index.json: it was not saved whole"
    raise UsageError(
        f"{path} is a folder without model_index.json (a model), recipe.toml (a run), {DIFFUSERS_FILE} or {PEFT_FILE} "
        "(an adapter)",
        hint=hint,
    )


def _file(path: Path, base: str | Path | None) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".ckpt":
        return _plain(str(path), base, title=path.stem)
    if suffix == ".toml":
        raise UsageError(
            f"{path} is a recipe, not a model", hint=f"`bakehouse train {path}` makes a run of it; name that"
        )
    if suffix != ".safetensors":
        raise UsageError(f"{path} is a {suffix or 'nameless'} file, not a model", hint=f"a model is {ALLOWED}")
    kind = kind_of(path).kind
    if kind == "adapter":
        return _adapter(path, base)
    if kind != "checkpoint":
        raise UsageError(
            f"{path} holds no model and no adapter: it is a file of the kind {kind!r}", hint=f"a model is {ALLOWED}"
        )
    return _plain(str(path), base, title=path.stem)


def _adapter(path: Path, base: str | Path | None) -> Source:
    from bakehouse.models.identify import read_adapter_header

    model = _trained_on(read_adapter_header(path).metadata)
    home = _home(path)
    if base is None and home is not None:
        return replace(_with_run(Source("crumb"), path), adapters=((path, 1.0),), title=path.stem)
    named = str(base) if base is not None else _found_base(model.get("base"), path)
    if named is None:
        said = (
            f"say that it was trained on {model['base']!r}, which is not here"
            if model.get("base")
            else "do not name it"
        )
        raise UsageError(
            f"{path} is an adapter, and its base model is not known: its metadata {said}",
            hint="name the model it goes on: --base crumb, --base MODEL.safetensors or --base owner/name",
        )
    root = resolve(named)
    if root.adapters:
        raise UsageError(
            f"--base {named} is an adapter or the run of one", hint="a base is a whole model: name the one under it"
        )
    check_family(path, root.base)
    return replace(
        root,
        adapters=((path, 1.0),),
        title=path.stem,
        vae=model.get("vae") or root.vae,
        prediction=model.get("prediction") or root.prediction,
        zero_terminal_snr=bool(model.get("zero_terminal_snr")),
        clip_skip=_whole(model.get("clip_skip")) or root.clip_skip,
    )


def _home(path: Path) -> Run | None:
    """The run in whose weights/ a file or folder lies."""
    run = Run(path.resolve().parent.parent)
    return run if path.resolve().parent.name == "weights" and run.recipe.is_file() else None


def _with_run(source: Source, path: Path) -> Source:
    """What the run tells about weights that lie in it: how they were trained, and under an adapter the base."""
    from bakehouse.recipe.recipe import Recipe

    run = _home(path)
    if run is None:
        return source
    trained = _of(Recipe.load(run.recipe))
    if path.is_dir():
        # A saved model carries its own autoencoder.
        trained = replace(trained, base=source.base, vae=None)
    return replace(trained, title=source.title, run=run)


def _trained_on(metadata: Mapping[str, str]) -> dict[str, Any]:
    """`base`, `vae`, `clip_skip`, ... as far as an adapter's metadata tell: our recipe first, then kohya's keys."""
    try:
        recipe = parse_toml(metadata.get(RECIPE_KEY, ""))
    except tomllib.TOMLDecodeError:
        recipe = {}
    model = dict(recipe.get("model", {}))
    kohya = metadata.get("ss_sd_model_name")
    if "base" not in model and recipe:
        model["base"] = "crumb"
    if "base" not in model and kohya not in (None, "", "None"):
        model["base"] = kohya
    model.setdefault("clip_skip", metadata.get("ss_clip_skip"))
    # Others write it of epsilon models too, for which a picture that begins at pure noise is not defined.
    predicts_v = metadata.get("modelspec.prediction_type") == "v"
    model["zero_terminal_snr"] = predicts_v and metadata.get("ss_zero_terminal_snr") == "True"
    return model


def _found_base(named: Any, beside: Path) -> str | None:
    """Where a base that metadata name is now: itself, or a file of that name beside the adapter; None if nowhere."""
    if not named:
        return None
    text = str(named)
    if Path(text).exists() or find_model(text) is not None:
        return text
    neighbour = beside.parent / Path(text).name
    if neighbour.exists():
        return str(neighbour)
    return text if _HUB_ID.match(text) and Path(text).suffix not in (".safetensors", ".ckpt") else None


def _run(run: Run, base: str | Path | None) -> Source:
    path, weight = _picked(run)
    if path.is_dir():
        return replace(_with_run(_plain(str(path), base), path), title=run.name)
    source = replace(_adapter(path, base), title=run.name, run=run)
    return replace(source, adapters=((path, weight),))


def _of(recipe: Recipe) -> Source:
    model = recipe.model
    return Source(
        model.base,
        vae=model.vae,
        clip_skip=model.clip_skip,
        prediction=model.prediction,
        zero_terminal_snr=recipe.noise.zero_terminal_snr,
        precision=recipe.train.precision,
    )


def _picked(run: Run) -> tuple[Path, float]:
    """The weights that the evaluation picked, else the last, at weight 1."""
    choice = run.report / "pick.json"
    if not choice.is_file():
        return run_weights(run)[-1], 1.0
    pick = read_json(choice)
    try:
        path, weight = run.folder / str(pick["weights"]), float(pick.get("weight", 1.0))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise BakehouseError(
            f"{choice} is damaged: {e!r}", hint=f"`bakehouse evaluate {run.folder}` writes it again"
        ) from e
    if not path.exists():
        raise BakehouseError(
            f"{choice} picks {pick['weights']}, which is not in the run",
            hint=f"`bakehouse evaluate {run.folder}` picks again",
        )
    return path, weight


def _similar(path: Path) -> str:
    """What lies in the same folder under a similar name."""
    parent = path.parent if path.parent.is_dir() else Path()
    return did_you_mean(path.name, [*(p.name for p in parent.iterdir()), *model_names()])


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
