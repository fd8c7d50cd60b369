"""Caption files of a dataset: reading, tagging, editing by rules, statistics. Needs no torch."""

from bakehouse.captions.ruleset import RuleSet, parse_rules
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
    "parse_rules",
    "split_caption",
]
