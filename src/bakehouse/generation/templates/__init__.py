"""Prompt templates: slots, wildcards and choices, drawn by each image's seed. No torch."""

from bakehouse.generation.templates.drawn_prompts import (
    DrawnPrompt,
    draw_prompts,
    parse_slots,
    plain_words,
    recorded,
    subject_slots,
)
from bakehouse.generation.templates.template_set import Template, TemplateSet, find_templates, library, read_templates

__all__ = [
    "DrawnPrompt",
    "Template",
    "TemplateSet",
    "draw_prompts",
    "find_templates",
    "library",
    "parse_slots",
    "plain_words",
    "read_templates",
    "recorded",
    "subject_slots",
]
