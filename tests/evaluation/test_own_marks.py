import numpy as np
import pytest
from PIL import Image

from bakehouse.data.open_image import open_image
from bakehouse.data.scan import scan
from bakehouse.evaluation import CrumbScorer
from bakehouse.evaluation.own_marks import Patches, find_marks, region_box
from bakehouse.models import crumb_folder

GRID = (6, 6)
WIDTH = 24
EXAMPLES = crumb_folder().parent / "examples"


def patches(count, seed, marks=(), share=1.0):
    """Random images; each mark is a direction that is added to one patch of a share of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 36, WIDTH))
    for k in marks:
        for i in range(int(share * count)):
            features[i, rng.integers(36)] = 9 * np.eye(WIDTH)[k] + 0.5 * rng.normal(size=WIDTH)
    return Patches(features.astype(np.float32), GRID)


def test_a_mark_is_what_photos_share_and_the_base_lacks():
    found = find_marks(patches(16, 1, marks=[0]), patches(24, 2))
    (mark, *_), shown = found.marks, found.look_at(patches(20, 3, marks=[0]))
    assert mark.in_photos.value >= 0.9
    assert mark.in_base.value <= 0.05
    assert shown.shares()[0].value >= 0.9
    assert found.look_at(patches(40, 4)).shares()[0].value <= 0.1


def test_each_of_two_marks_is_found_and_seen_by_itself():
    found = find_marks(patches(16, 1, marks=[0, 1]), patches(24, 2))
    assert len(found.marks) >= 2
    only = [found.look_at(patches(20, 5, marks=[k])).present[:, :2].mean(axis=0) for k in (0, 1)]
    assert sorted(int(shares.argmax()) for shares in only) == [0, 1]
    assert all(shares.max() >= 0.9 and shares.min() <= 0.2 for shares in only)
    assert abs(float(found.marks[0].prototype @ found.marks[1].prototype)) < 1e-3


def test_what_the_base_shows_too_is_no_mark():
    assert not find_marks(patches(16, 1, marks=[0]), patches(24, 2, marks=[0])).marks


def test_what_half_of_the_photos_show_is_no_mark():
    assert not find_marks(patches(16, 1, marks=[0], share=0.5), patches(24, 2)).marks


@pytest.mark.parametrize("seed", range(3))
def test_images_of_one_kind_have_no_marks(seed):
    assert not find_marks(patches(16, 10 + seed), patches(24, 20 + seed)).marks


@pytest.mark.parametrize(("photos", "base"), [(0, 24), (3, 24), (16, 7), (16, 0)])
def test_few_images_have_no_marks(photos, base):
    found = find_marks(patches(photos, 1, marks=[0]), patches(base, 2))
    assert found.marks == ()
    shown = found.look_at(patches(5, 3))
    assert shown.present.shape == (5, 0)
    assert shown.boxes.shape == (5, 0, 4)
    assert shown.shares() == []


def test_the_scale_of_the_features_does_not_matter():
    photos, base, more = patches(16, 1, marks=[0]), patches(24, 2), patches(9, 3, marks=[0])
    once = find_marks(photos, base).look_at(more)
    big = [Patches(100 * p.features, p.grid) for p in (photos, base, more)]
    assert find_marks(big[0], big[1]).look_at(big[2]).similarity == pytest.approx(once.similarity, abs=1e-3)


def test_the_box_of_a_region_is_where_it_is():
    similarity = np.zeros(GRID)
    similarity[2, 3], similarity[2, 4], similarity[5, 0] = 0.9, 0.7, 0.8
    assert region_box(similarity.ravel(), GRID, 0.5) == pytest.approx((2 / 6, 1 / 6, 1.0, 4 / 6))
    assert region_box(np.eye(36)[0], GRID, 0.5) == pytest.approx((0, 0, 2 / 6, 2 / 6)), "cut at the image's edge"


def test_grids_must_agree():
    with pytest.raises(ValueError, match="grids differ"):
        find_marks(patches(16, 1), Patches(np.zeros((8, 4, WIDTH), np.float32), (2, 2)))
    with pytest.raises(ValueError, match="expected"):
        Patches(np.zeros((8, 5, WIDTH), np.float32), (2, 2))


def without_eyepatch(image):
    """Paint dark blue pixels, the eyepatch, in the colour of the skin beneath."""
    pixels = np.array(image.convert("RGB"))
    pixels[np.abs(pixels.astype(int) - (38, 50, 77)).sum(axis=2) < 60] = (208, 139, 91)
    return Image.fromarray(pixels)


def test_the_marks_of_an_example_are_in_its_other_photos_and_vanish_when_painted_over():
    scorer = CrumbScorer.load()
    photos, held_out, others = (
        [open_image(r.path) for r in scan(EXAMPLES / n).records] for n in ("mira", "mira-holdout", "tobi")
    )
    found = find_marks(scorer.patches(photos), scorer.patches(others))
    assert found.marks
    shown = found.look_at(scorer.patches(held_out))
    assert np.mean([share.value for share in shown.shares()]) >= 0.8
    painted = found.look_at(scorer.patches([without_eyepatch(image) for image in photos]))
    before = found.look_at(scorer.patches(photos))
    assert painted.similarity.mean() < before.similarity.mean()
