"""The layout of two cut-outs in a collage: sizes and positions in pixels. Only numbers, no images."""

from __future__ import annotations

import random
from dataclasses import dataclass

HEADROOM = 0.03
"""Least share of the picture above a subject whose head is whole."""
GROUND = 0.05
"""Share of the picture below the feet of full figures."""
MARGIN = 0.02
"""Least share of the picture's width at each side of the two."""
CLOSE_SHARE = 1 / 3
"""Share of the pictures in which one stands before the other although there is room for both."""
MIN_HEIGHT = 0.2
"""Share of the picture's height below which a subject is too small to be learned."""


@dataclass(frozen=True)
class Shape:
    """What the layout needs to know of a cut-out."""

    width: int
    height: int
    share: float
    """Height of the subject as a share of its own image's."""
    cut_top: bool
    cut_bottom: bool
    cut_left: bool
    cut_right: bool


@dataclass(frozen=True)
class Place:
    """Size and upper left corner of a cut-out in the picture, in pixels."""

    width: int
    height: int
    x: int
    y: int


@dataclass(frozen=True)
class LayoutRules:
    """The settings of a layout."""

    size: tuple[int, int]
    """Width and height of the picture."""
    overlap: float
    """Largest share of the narrower subject's width that may be behind the other."""
    vary: float
    """Each size is varied by up to this share."""


def lay_out(
    left: Shape, right: Shape, ratio: float, rules: LayoutRules, rng: random.Random
) -> tuple[Place, Place] | None:
    """Return the places of two subjects side by side; None if they cannot stand so without a straight cut in view.

    What its image cut off is cut off by the picture too: a bust stands on the lower edge, and who lacks a shoulder
    stands at that side. Subjects that are whole have their feet on one line. Both are shown as large as in their own
    images, half way to a common height; if they do not fit, both are made smaller.

    Args:
        left: the subject at the left.
        right: the subject at the right.
        ratio: height of the right one as a share of the left one's.
        rules: the settings.
        rng: draws the variations.
    """
    if left.cut_right or right.cut_left:
        return None
    width, height = rules.size
    shapes = (left, right)
    common = (left.share * right.share) ** 0.5
    wanted = [(s.share + common) / 2 if s.cut_bottom else common for s in shapes]
    wanted = [wanted[0] / ratio**0.5, wanted[1] * ratio**0.5]
    wanted = [w * rng.uniform(1 - rules.vary, 1 + rules.vary) for w in wanted]
    most = [1 - HEADROOM - (0 if s.cut_bottom else GROUND) for s in shapes]
    shrink = min(1.0, *(m / w for w, m in zip(wanted, most, strict=True)))
    heights = [height * (1.0 if s.cut_top else w * shrink) for s, w in zip(shapes, wanted, strict=True)]
    widths = [h * s.width / s.height for h, s in zip(heights, shapes, strict=True)]
    most_hidden = rules.overlap * min(widths)
    hidden = rng.uniform(0, most_hidden) if rng.random() < CLOSE_SHARE else 0.0
    room = width * (1 - MARGIN * (2 - left.cut_left - right.cut_right))
    if (lacking := sum(widths) - hidden - room) > 0:
        if left.cut_top or right.cut_top:
            # Their height is given, so that only standing closer helps.
            hidden += lacking
            if hidden > most_hidden:
                return None
        else:
            hidden = min(most_hidden, hidden + lacking)
            by = min(1.0, room / (sum(widths) - hidden))
            heights, widths, hidden = [h * by for h in heights], [w * by for w in widths], hidden * by
    if min(heights) < MIN_HEIGHT * height:
        return None
    return _placed(shapes, widths, heights, hidden, rules.size, rng)


def _placed(
    shapes: tuple[Shape, Shape],
    widths: list[float],
    heights: list[float],
    hidden: float,
    size: tuple[int, int],
    rng: random.Random,
) -> tuple[Place, Place]:
    left, right = shapes
    width, height = size
    free = width - sum(widths) + hidden
    # Thirds of the free room left of, between and right of the two, not quite even, as people stand.
    shares = [0.0 if left.cut_left else 1.0, 0.0 if hidden > 0 else 1.0, 0.0 if right.cut_right else 1.0]
    if not any(shares):
        shares[1], hidden = 1.0, 0.0
        free = width - sum(widths)
    shares = [s * rng.uniform(0.7, 1.3) for s in shares]
    gaps = [free * s / sum(shares) for s in shares]
    xs = [gaps[0], gaps[0] + widths[0] + gaps[1] - hidden]
    ground = height * (1 - GROUND)
    places = []
    for shape, w, h, x in zip(shapes, widths, heights, xs, strict=True):
        whole_w, whole_h = max(1, round(w)), max(1, round(h))
        bottom = height if shape.cut_bottom else round(ground)
        x = 0 if shape.cut_left else width - whole_w if shape.cut_right else round(x)
        places.append(Place(whole_w, whole_h, round(x), bottom - whole_h))
    return places[0], places[1]
