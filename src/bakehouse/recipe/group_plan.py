"""The plan of a character in several outfits, or of several characters: how often each group of images is shown.

One rule for all: **each character is shown `per_epoch` times an epoch, in equal shares by the groups that show it, but
no group less than `per_group` times; and for so many epochs that no character is shown more than `cap` times.** A group
that shows several characters gets the largest of their shares. Numbers are those of the preset, by the factors of the
optimizer, the loss and the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakehouse.core.message_text import counted
from bakehouse.data.balance_repeats import balance_repeats, fair_target
from bakehouse.recipe.decisions import Derivation
from bakehouse.recipe.image_groups import ImageGroup, characters_of, image_groups, prompt_of


def group_targets(groups: Sequence[ImageGroup], per_epoch: int, per_group: int) -> dict[int, int]:
    """Return the images that each group shows an epoch, by concept.

    Args:
        groups: of one recipe.
        per_epoch: images of each character an epoch, shared by its groups.
        per_group: least images of a group.
    """
    number = {word: sum(word in g.characters for g in groups) for g in groups for word in g.characters}
    return {g.concept: max(per_group, *(round(per_epoch / number[w]) for w in g.characters)) for g in groups}


def shown_characters(groups: Sequence[ImageGroup], shows: Mapping[int, int]) -> dict[str, int]:
    """Return how many images of each character groups show, by its trigger."""
    words = dict.fromkeys(w for g in groups for w in g.characters)
    return {w: sum(shows[g.concept] for g in groups if w in g.characters) for w in words}


class GroupDerivation(Derivation):
    """Decides what a recipe of outfits or of a pack leaves open."""

    def _repeats_and_epochs(self) -> None:
        groups, preset, recipe = image_groups(self.recipe), self.preset, self.recipe
        assert preset.per_epoch and preset.per_group
        factor, why = self._factor()
        per_epoch, per_group = round(preset.per_epoch * factor), max(1, round(preset.per_group * factor))
        cap = round(preset.cap * factor)
        said = f" ({preset.per_epoch}, {preset.per_group} and {preset.cap:,} {', '.join(why)})" if why else ""
        targets = group_targets(groups, per_epoch, per_group)
        counts = {i: sum(r.concept == i for r in self.images) for i in targets}
        self._repeats(groups, targets, counts)
        shows = {i: n * (self.recipe.concepts[i].repeats or 1) for i, n in counts.items()}
        of = shown_characters(groups, shows)
        most = max(of, key=of.__getitem__)
        if recipe.train.epochs is None and not recipe.train.steps:
            epochs = max(1, min(preset.epochs, cap // max(1, of[most])))
            reason = (
                f"each character {per_epoch} times an epoch in equal shares by its groups, no group less than "
                f"{per_group} times, and no character more than {cap:,} times in all{said}: {most} is shown "
                f"{of[most]} x {epochs} = {of[most] * epochs:,} times"
            )
            self.decide("train.epochs", epochs, reason)

    def _repeats(self, groups: Sequence[ImageGroup], targets: Mapping[int, int], counts: Mapping[int, int]) -> None:
        """Decide repeats that are left out; groups of one share are balanced with each other."""
        open_ = [g for g in groups if self.recipe.concepts[g.concept].repeats is None]
        for target in sorted({targets[g.concept] for g in open_}):
            siblings = {str(g.concept): counts[g.concept] for g in open_ if targets[g.concept] == target}
            solved = balance_repeats(siblings, fair_target(siblings, target))
            for g in open_:
                if (repeats := solved.get(str(g.concept))) is not None:
                    n = counts[g.concept]
                    reason = f"{counted(n, 'image')} x {repeats} = {n * repeats} per epoch: "
                    self.decide(f"concepts.{g.concept}.repeats", repeats, reason + _share(g, groups, target))

    def _sample_prompts(self) -> tuple[list[str], str]:
        classes = [c.class_name for c in characters_of(self.recipe).values()]
        prompts = [p for p in (*(prompt_of(self.recipe, g) for g in image_groups(self.recipe)), *classes) if p]
        return list(dict.fromkeys(prompts)), "each group by its own words, and the class without them"


def _share(group: ImageGroup, groups: Sequence[ImageGroup], target: int) -> str:
    """Return why a group is shown so often."""
    number, who = max((sum(w in g.characters for g in groups), w) for w in group.characters)
    together = " and ".join(group.characters) + " together" if group.is_together else ""
    what = together or group.outfit or ("other clothes" if number > 1 else who)
    return f"{what}: about {target}, as one of {counted(number, 'group')} of {who}"
