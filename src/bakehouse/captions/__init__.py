"""Captions as files of a dataset: read, tagged, edited by rules, counted. No torch."""

from bakehouse.captions.ruleset import RuleSet, rules_of
from bakehouse.data.tag_vocabulary import TagVocabulary, load_vocabulary
from bakehouse.data.tags import form_of, has_several_people, is_face, join_tags, key, split_caption

__all__ = [
    "RuleSet",
    "TagVocabulary",
    "form_of",
    "has_several_people",
    "is_face",
    "join_tags",
    "key",
    "load_vocabulary",
    "rules_of",
    "split_caption",
]
