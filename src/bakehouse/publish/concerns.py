"""What has to be confirmed before publishing: a model without effect, copies of photos, a person's consent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bakehouse.core.errors import UsageError
from bakehouse.evaluation.selection import limit_checks
from bakehouse.publish.publication_facts import PublicationFacts

_PEOPLE = frozenset(
    {
        *("person", "people", "human", "man", "men", "woman", "women", "guy", "gentleman", "lady", "boy", "girl"),
        *("child", "kid", "baby", "toddler", "teenager", "1boy", "1girl", "face", "portrait"),
        *("actor", "actress", "singer", "dancer", "athlete", "politician"),
        *("husband", "wife", "mother", "father", "sister", "brother", "friend"),
    }
)
"""Class words of people, in English as base models know them."""


@dataclass(frozen=True)
class Concern:
    """A reason not to publish, which the publisher can override."""

    name: str
    """In one word, for JSON."""
    why: str
    """A sentence that ends with a figure or a fact."""


def concerns(facts: PublicationFacts) -> tuple[Concern, ...]:
    """Return the reasons to think twice about a publication; empty if there are none."""
    return tuple(_concerns(facts))


def _concerns(facts: PublicationFacts) -> Iterator[Concern]:
    report, cell = facts.report, facts.scores
    if facts.kind == "slider":
        return
    if report is None:
        yield Concern(
            "not-evaluated",
            "the run was not evaluated: whether it learned its subject is not known (bakehouse evaluate measures it)",
        )
        return
    if report.verdict.outcome == "nothing changed":
        yield Concern("nothing-changed", f"the evaluation found that nothing changed: {report.verdict.why}")
    if cell is None:
        yield Concern("other-weights", f"{facts.weights.name} at strength {facts.strength:g} is not what was evaluated")
        return
    copies = next(check for check in limit_checks(cell) if check.name == "near copies")
    if copies.state != "kept":
        yield Concern(
            "copies",
            f"it reproduces its training images: {copies.text}. Anyone with the model can generate them",
        )


def is_of_people(facts: PublicationFacts) -> bool:
    """Return whether a subject's class word says that it is a person."""
    words = {w for concept in facts.recipe.concepts for w in re.findall(r"\w+", concept.class_name.lower())}
    return bool(words & _PEOPLE)


def check_consent(facts: PublicationFacts) -> None:
    """Check that a model of a person says whether the person is real.

    Raises:
        UsageError: it does not.
    """
    if facts.spec.person is None and is_of_people(facts):
        raise UsageError(
            f"{facts.subject!r} is a person, and it is not stated whether the person is real",
            hint="--person real: a real person, who agrees to the publication, as the card then states; "
            "--person none: an invented person, or no person",
        )
