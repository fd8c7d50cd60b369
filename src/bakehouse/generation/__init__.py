"""Image generation: model sources, pipelines, infotext and grids. torch is loaded when a pipeline is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.core.lazy_names import lazy_names
from bakehouse.core.quick_imports import quick_imports

if TYPE_CHECKING:
    from bakehouse.generation.contact_sheet import draw_grid
    from bakehouse.generation.grids.axes import AXES, Axis, make_axis, parse_axis
    from bakehouse.generation.grids.grid import GridSaved, make_grid
    from bakehouse.generation.grids.grid_recipe import GridRecipe, read_recipe
    from bakehouse.generation.grids.save import DrawnCell, Grid
    from bakehouse.generation.img2img_settings import Extend, FromImage, Hires, Inpaint
    from bakehouse.generation.infotext import Infotext
    from bakehouse.generation.model_source import ModelSource, resolve
    from bakehouse.generation.pipeline import Pipeline
    from bakehouse.generation.regions import Box, Region, Regions
    from bakehouse.generation.request import GeneratedImage, ImageRequest
    from bakehouse.generation.templates import draw_prompts, find_templates, recorded

_HOMES = {
    "AXES": "grids.axes",
    "Axis": "grids.axes",
    "Box": "regions",
    "GridSaved": "grids.grid",
    "DrawnCell": "grids.save",
    "Extend": "img2img_settings",
    "FromImage": "img2img_settings",
    "Grid": "grids.save",
    "GridRecipe": "grids.grid_recipe",
    "Hires": "img2img_settings",
    "Infotext": "infotext",
    "Inpaint": "img2img_settings",
    "GeneratedImage": "request",
    "ImageRequest": "request",
    "ModelSource": "model_source",
    "Pipeline": "pipeline",
    "Region": "regions",
    "Regions": "regions",
    "draw_grid": "contact_sheet",
    "draw_prompts": "templates",
    "find_templates": "templates",
    "make_axis": "grids.axes",
    "make_grid": "grids.grid",
    "parse_axis": "grids.axes",
    "read_recipe": "grids.grid_recipe",
    "recorded": "templates",
    "resolve": "model_source",
}

__all__ = [
    "AXES",
    "Axis",
    "Box",
    "DrawnCell",
    "Extend",
    "FromImage",
    "GeneratedImage",
    "Grid",
    "GridRecipe",
    "GridSaved",
    "Hires",
    "ImageRequest",
    "Infotext",
    "Inpaint",
    "ModelSource",
    "Pipeline",
    "Region",
    "Regions",
    "draw_grid",
    "draw_prompts",
    "find_templates",
    "make_axis",
    "make_grid",
    "parse_axis",
    "read_recipe",
    "recorded",
    "resolve",
]

__getattr__ = lazy_names(__name__, _HOMES, quick_imports)
