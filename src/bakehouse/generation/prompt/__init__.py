"""A1111's prompt language: text to a syntax tree, and the tree to weighted prompts for each step. No torch."""

from bakehouse.generation.prompt.adapter_tags import AdapterTag
from bakehouse.generation.prompt.compile import CompiledPrompt, compile_prompt
from bakehouse.generation.prompt.emphasis import escape
from bakehouse.generation.prompt.parser import parse_negative, parse_prompt
from bakehouse.generation.prompt.styles import Style, find_styles, read_styles, with_styles

__all__ = [
    "AdapterTag",
    "CompiledPrompt",
    "Style",
    "compile_prompt",
    "escape",
    "find_styles",
    "parse_negative",
    "parse_prompt",
    "read_styles",
    "with_styles",
]
