"""What is advised for buckets fixes what it is named for, brings nothing else, and never contradicts itself."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bakehouse.audit import AuditSpec
from bakehouse.audit.bucket_checks import bucket_count, crop_loss
from bakehouse.audit.facts import Box, Facts, Group, ImageFacts
from bakehouse.data.buckets import assign

PHONES = ((1500, 1000), (1000, 1500), (1600, 1200), (1200, 1600), (1920, 1080), (1080, 1920), (1000, 1000))


def _header(width, height):
    return SimpleNamespace(width=width, height=height)


def facts_of(sizes, spec: AuditSpec, faces=()) -> Facts:
    placed = assign(sizes, spec.buckets)
    images = tuple(
        ImageFacts(f"{n:03d}.png", Path(), 1, header=_header(*size), placement=place, faces=tuple(faces))
        for n, (size, place) in enumerate(zip(sizes, placed, strict=True))
    )
    return Facts(Path(), images, groups=(Group("", "", None, "train", images),))


def findings(sizes, step: int, batch: int = 1, faces=()):
    spec = AuditSpec.model_validate({"buckets": {"step": step}, "batch": batch})
    facts = facts_of(sizes, spec, faces)
    return [(check, hit) for check, run in (("B02", crop_loss), ("B03", bucket_count)) for hit in run(facts, spec)]


def steps(found) -> set[int]:
    return {int(n) for _, hit in found for n in re.findall(r"buckets.step=(\d+)", hit.fix or "")}


def test_three_to_two_photos_get_a_finer_step_and_stay():
    """The case of a folder of camera photos: a quarter of them lie between the buckets of step 64."""
    sizes = [PHONES[0]] * 106 + [(512, 512)] * 200 + [PHONES[2]] * 101
    ((check, hit),) = findings(sizes, 64)
    assert (check, hit.key, len(hit.files)) == ("B02", "step", 106)
    assert "loses 10" in hit.notes["000.png"]
    assert hit.fix == "bakehouse plan {plan} --set buckets.step=32 -o {recipe}" and not hit.advice
    assert findings(sizes, 32) == []


def test_a_face_at_the_edge_is_kept_by_a_finer_step():
    found = findings([PHONES[0]] * 8, 64, faces=[Box(0.3, 0.0, 0.7, 0.2)])
    assert [(hit.key, hit.level) for _, hit in found] == [("face step", "error")]
    assert findings([PHONES[0]] * 8, 32, faces=[Box(0.3, 0.0, 0.7, 0.2)]) == []


@pytest.mark.parametrize("seed", range(40))
def test_advice_never_contradicts_itself(seed):
    rng = np.random.default_rng(seed)
    pool = PHONES[: rng.integers(2, 8)] if seed % 2 else [(int(w), int(h)) for w, h in rng.integers(300, 1600, (14, 2))]
    sizes = [pool[i] for i in rng.integers(0, len(pool), rng.integers(8, 40))]
    batch, step = int(rng.choice([1, 2, 4])), int(rng.choice([32, 64, 128]))
    before = findings(sizes, step, batch)
    assert all(bool(hit.fix) != bool(hit.advice) for _, hit in before)
    assert len(steps(before)) <= 1
    for better in steps(before):
        after = findings(sizes, better, batch)
        names = [(check, hit.key.removesuffix("step").strip()) for check, hit in after]
        fixed = [(check, hit.key.removesuffix("step").strip(), set(hit.files)) for check, hit in before if hit.fix]
        for check, key, files in fixed:
            rest = [set(hit.files) for (c, k), (_, hit) in zip(names, after, strict=True) if (c, k) == (check, key)]
            assert all(files.isdisjoint(left) for left in rest) and not (rest and key == "many")
        assert {n[0] for n in names} <= {check for check, _ in before}
        assert not steps(after) or steps(after).isdisjoint({step})
