"""The recipe of a command: from a recipe file, a folder of images or a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.slider_options import SliderOptions
from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.core.run_folder import Run
    from bakehouse.recipe import Recipe


NO_SLIDER = SliderOptions()


def read_recipe(
    source: Path | None,
    *,
    subject: str | None = None,
    kind: str | None = None,
    base: str | None = None,
    settings: Sequence[str] = (),
    slider: SliderOptions = NO_SLIDER,
    devices: int | None = None,
) -> Recipe:
    """Return the recipe of `source`, changed by options such as `--subject` and `--set`; or that of a slider.

    YAML is another trainer's settings, as `bakehouse import` takes them; what could not be taken over is warned of.

    Raises:
        UsageError: no such file or folder, or images without a subject.
        Problems: wrong keys or values, all at once.
    """
    from bakehouse.core.settings import parse_setting
    from bakehouse.recipe import Recipe, recipe_for_folder, short_settings
    from bakehouse.recipe.from_folder import check_subjects, names_images

    changes = dict(parse_setting(s) for s in settings) | ({"train.devices": devices} if devices else {})
    if source is None:
        if not slider.given and kind != "slider":
            raise UsageError(
                "nothing to train on: RECIPE|FOLDER is missing",
                hint='name a recipe or a folder of images; or a slider: --target person --positive "person, smile"',
            )
        recipe = slider.recipe(kind=kind, subject=subject, base=base)
    elif slider.given:
        raise UsageError(
            f"{slider.given[0]} describes a new slider, and {source} is given too",
            hint="leave one of them out; prompts in a recipe are changed with --set slider.prompts.0.positive=WORDS",
        )
    elif source.suffix.lower() in (".yaml", ".yml"):
        recipe = _imported(source, subject=subject, kind=kind)
        changes = {**({"model.base": base} if base else {}), **changes}
    elif names_images(source):
        kind = changes.get("kind", kind or "character")
        if kind == "slider":
            raise UsageError(
                f"a slider is trained on prompts, and {source} is a folder of images",
                hint='leave it out: --kind slider --target person --positive "person, smile"',
            )
        recipe = recipe_for_folder(source, subject or "", kind=kind, base=base or BUNDLED_BASE)
        check_subjects(recipe, source)
    else:
        recipe = Recipe.load(source / "recipe.toml" if source.is_dir() else source)
        changes = short_settings(recipe, subject=subject, kind=changes.get("kind", kind), base=base) | changes
    return recipe.with_values(changes).resolved_from(Path.cwd()) if changes else recipe


def _imported(source: Path, *, subject: str | None, kind: str | None) -> Recipe:
    from bakehouse.cli.render.consoles import print_warnings
    from bakehouse.recipe.importers import import_settings

    made = import_settings(source, subject=subject, kind=kind)
    print_warnings(f"{source}: {note}" for note in made.lost)
    return made.recipe.resolved_from(source.parent)


def subject_of(run: Run | None) -> str:
    """Return the subject of a run, the default prompt.

    Raises:
        UsageError: not a run, or its recipe has no subject.
    """
    from bakehouse.recipe import Recipe

    subject = next((concept.subject for concept in Recipe.load(run.recipe).concepts), "") if run else ""
    if not subject:
        raise UsageError("no prompt given, and MODEL is not a run folder with a subject", hint='pass --prompt "..."')
    return subject
