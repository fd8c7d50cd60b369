"""The helper process that plans and knows base models: it alone imports recipes, and torch. Asked over standard input.

python -m bakehouse.serve.runs.planner
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import tomllib
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.setting_descriptions import described_schema
from bakehouse.recipe import Plan, Recipe, make_plan, plan_to_toml, recipe_for_folder, recipe_to_toml, scan_concepts
from bakehouse.recipe.from_folder import check_subjects, short_settings
from bakehouse.recipe.recipe import Kind
from bakehouse.serve.runs.problem_keys import problem_rows
from bakehouse.serve.work.messages import encode, read_message

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a plan or a training was asked for with. All paths must be inside `roots`."""

    roots: tuple[Path, ...]
    """Folders of datasets, the first, and of runs."""
    models: Mapping[str, str]
    """Models that may be a base beside those with names of the catalogue and of the Hub: paths by name."""
    folder: str | None = None
    """A dataset; or else `recipe`."""
    recipe: str | Mapping[str, Any] | None = None
    """TOML, or values."""
    subject: str | None = None
    kind: str | None = None
    base: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """By dotted key, as `--set`."""

    def read(self) -> Recipe:
        """Return the recipe.

        Raises:
            UsageError: a path that leads out of the folders, or no subject.
            Problems: wrong keys or values.
        """
        base = self.models.get(self.base, self.base) if self.base else None
        if self.folder is not None:
            kind = self.settings.get("kind", self.kind) or "character"
            recipe = recipe_for_folder(
                self.folder, self.subject or "", kind=kind, base=base or BUNDLED_BASE, settings=self.settings
            )
            check_subjects(recipe, Path(self.folder))
        else:
            values = _table(self.recipe) if isinstance(self.recipe, str) else dict(self.recipe or {})
            recipe = Recipe.parse(values, source="the recipe")
            served = self.models.get(recipe.model.base)
            short = short_settings(recipe, subject=self.subject, kind=self.kind, base=base or served)
            recipe = recipe.with_values({**short, **self.settings})
        named = {key: str(self._place(path)) for key, path in _paths(recipe.settings()) if not path.is_absolute()}
        recipe = recipe.with_values(named).resolved_from(self.roots[0]) if named else recipe
        self._check_paths(recipe)
        return recipe

    def _place(self, path: Path) -> Path:
        """Return where a relative path is: in the datasets, or as answers show it: `datasets/me`, `runs/one`."""
        shown = [root.joinpath(*path.parts[1:]) for root in self.roots if path.parts[:1] == (root.name,)]
        return next((place for place in (self.roots[0] / path, *shown) if place.exists()), self.roots[0] / path)

    def _check_paths(self, recipe: Recipe) -> None:
        for key, path in _paths(recipe.settings()):
            if not any(path.resolve().is_relative_to(root.resolve()) for root in self.roots):
                raise UsageError(f"{key} leads out of the server's folders", hint="name a dataset of the server")
        for key, ref in (("model.base", recipe.model.base), ("model.vae", recipe.model.vae)):
            if ref is None or ref in self.models.values() or _NAME.fullmatch(ref):
                continue
            if not any(Path(ref).resolve().is_relative_to(root.resolve()) for root in self.roots):
                raise UsageError(
                    f"{key} = {ref!r} leads out of the server's folders",
                    hint="name a model of `bakehouse models list`, of the Hub, or one that is served",
                )


def plan(asked: Asked) -> dict[str, Any]:
    """Return a plan: figures with reasons, the recipe, and its text as TOML with paths relative to the datasets."""
    recipe = asked.read()
    made = make_plan(recipe, scan_concepts(recipe))
    values = made.to_json()
    return {
        "summary": _summary(made),
        **{key: values[key] for key in ("decisions", "warnings", "buckets", "epochs", "steps_per_epoch", "steps")},
        "estimate": values["estimate"],
        "images": sum(not image.prior for image in made.images),
        "class_images": len(made.class_images),
        "recipe": values["recipe"],
        "asked": recipe.settings(mode="json"),
        "toml": plan_to_toml(made, beside=asked.roots[0]),
        "idle": dict(made.idle),
    }


def prepare(asked: Asked) -> dict[str, Any]:
    """Return what the queue takes: a recipe with absolute paths, which can be planned now."""
    recipe = asked.read()
    made = make_plan(recipe, scan_concepts(recipe))
    return {"title": recipe.title, "kind": recipe.kind, "steps": made.steps, "toml": recipe_to_toml(recipe)}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes with descriptions, and the kinds."""
    return {"schema": described_schema(Recipe), "kinds": list(typing.get_args(Kind)), "default_base": BUNDLED_BASE}


def base_models() -> dict[str, Any]:
    """Return the base models of this machine and of the catalogue."""
    from bakehouse.models.list_bases import bases

    return {"bases": [base.to_json() for base in bases()]}


def _summary(made: Plan) -> list[str]:
    from bakehouse.core.message_text import counted
    from bakehouse.core.units import duration, size

    cost, order = made.estimate, f"{counted(made.epochs, 'epoch')} of {counted(made.steps_per_epoch, 'step')}"
    shown = counted(len(made.subject_images), "image") if made.images else "no images"
    of_class = len(made.images) - len(made.subject_images) + len(made.class_images)
    also = f" and {counted(of_class, 'class image')}" if of_class else ""
    return [
        f"{shown}{also}; {counted(made.steps, 'step')} in {order}",
        f"about {duration(cost.seconds)} on {cost.device}, {size(cost.memory_bytes)} of memory, "
        f"{size(cost.disk_bytes)} of disk (estimates, within a factor of two)",
    ]


def _table(text: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except tomllib.TOMLDecodeError as e:
        raise UsageError(f"the recipe is not TOML: {e}") from e


def _paths(values: Any, key: str = "") -> list[tuple[str, Path]]:
    """Return every path in a recipe's values with its dotted key."""
    if isinstance(values, Path):
        return [(key, values)]
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [found for name, value in items for found in _paths(value, f"{key}.{name}".lstrip("."))]


_DO: Mapping[str, Callable[[Asked], dict[str, Any]]] = {
    "plan": plan,
    "prepare": prepare,
    "schema": lambda _: schema(),
    "bases": lambda _: base_models(),
}


def _asked(values: Mapping[str, Any]) -> Asked:
    return Asked(**{**values, "roots": tuple(map(Path, values["roots"]))})


def main() -> None:
    """Answer until standard input ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    while (message := read_message(sys.stdin.buffer)) is not None:
        try:
            answer: dict[str, Any] = {"result": _DO[message.values["do"]](_asked(message.values["asked"]))}
        except UsageError as e:
            problems = problem_rows(e.problems, Recipe) if isinstance(e, Problems) else []
            answer = {"error": {"kind": "usage", "message": e.message, "hint": e.hint, "problems": problems}}
        except BakehouseError as e:
            answer = {"error": {"kind": "failed", "message": e.message, "hint": e.hint}}
        except Exception as e:
            sys.stderr.write(f"the planner failed: {type(e).__name__}: {e}\n")
            answer = {
                "error": {"kind": "internal", "message": "the plan failed; the server's log says more", "hint": ""}
            }
        out.write(encode(answer))
        out.flush()


if __name__ == "__main__":
    main()
