"""Captions as files of a dataset: read, tagged, edited by rules, counted. No torch."""

from bakehouse.curate.captions.ruleset import RuleSet, rules_of
from bakehouse.curate.captions.tags import form_of, has_several_people, is_face, join, key, split
from bakehouse.curate.captions.vocabulary import TagVocabulary, load_vocabulary

__all__ = [
    "RuleSet",
    "TagVocabulary",
    "form_of",
    "has_several_people",
    "is_face",
    "join",
    "key",
    "load_vocabulary",
    "rules_of",
    "split",
]
