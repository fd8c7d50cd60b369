import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bakehouse.core.errors import Problems, UsageError
from bakehouse.data import BucketSpec, assign, bucket_table, bucket_warnings, fit, fit_mask, kohya_bucket, make_buckets
from bakehouse.data.buckets import log_bucket, unchanged_placement

from .make import LAW, photo

KOHYA_512 = [
    *((256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576), (512, 512)),
    *((576, 448), (640, 384), (704, 320), (768, 320), (832, 256), (896, 256), (960, 256), (1024, 256)),
]
SIZES = st.tuples(st.integers(1, 9000), st.integers(1, 9000))
SPECS = st.builds(
    BucketSpec,
    resolution=st.sampled_from([64, 512, 768, 1024]),
    rule=st.sampled_from(["log", "kohya"]),
    upscale=st.booleans(),
    enabled=st.booleans(),
    step=st.sampled_from([16, 64]),
)


def test_kohyas_tables():
    assert make_buckets(512, 256, 1024, 64) == KOHYA_512
    assert len(make_buckets(1024, 256, 2048, 64)) == 41
    assert make_buckets(256, 256, 1024, 64) == [(256, 256)]
    assert make_buckets((512, 512)) == KOHYA_512
    assert (384, 640) in KOHYA_512
    assert (576, 384) not in KOHYA_512


@pytest.mark.parametrize(
    ("size", "bucket", "resized"),
    [
        ((512, 512), (512, 512), (512, 512)),
        ((342, 300), (512, 512), (584, 512)),
        ((300, 342), (448, 576), (505, 576)),  # its transpose goes to the square: plain differences are not fair
        ((576, 448), (576, 448), (576, 448)),
        ((1920, 1080), (832, 256), None),
        ((1000, 1500), (384, 640), (427, 640)),
        ((8000, 60), (1024, 256), (34133, 256)),
    ],
)
def test_kohyas_choice(size, bucket, resized):
    if resized is None:
        chosen = min(KOHYA_512, key=lambda b: abs(b[0] / b[1] - size[0] / size[1]))
        assert kohya_bucket(size, KOHYA_512)[0] == chosen
    else:
        assert kohya_bucket(size, KOHYA_512) == (bucket, resized)


@pytest.mark.parametrize(
    ("size", "bucket", "resized"),
    [
        ((400, 300), (384, 256), (400, 300)),  # smaller than the area: its own size, floored
        ((512, 512), (512, 512), (512, 512)),
        ((1000, 1500), (384, 576), (384, 576)),
        ((1920, 1080), (640, 384), (683, 384)),
        ((4000, 600), (1280, 192), (1280, 192)),
        ((50, 50), (64, 64), (64, 64)),  # kohya: division by zero
        ((8000, 60), (4096, 64), None),  # kohya: division by zero
        ((40, 3000), (64, 2944), None),  # kohya: a bucket 0 wide
    ],
)
def test_kohya_without_enlarging(size, bucket, resized):
    chosen = kohya_bucket(size, KOHYA_512, no_upscale=True, area=512 * 512)
    if resized is not None:
        assert chosen == (bucket, resized)
    assert min(chosen[0]) >= 64
    assert all(r >= b for r, b in zip(chosen[1], chosen[0], strict=True))


@LAW
@given(st.integers(300, 2000), st.integers(300, 2000))
def test_the_log_rule_treats_portrait_as_landscape(w, h):
    bucket = log_bucket((w, h), KOHYA_512)
    assert log_bucket((h, w), KOHYA_512) == bucket[::-1]


@LAW
@given(SIZES, st.integers(2, 9))
def test_the_log_rule_sees_only_the_shape(size, times):
    bigger = (size[0] * times, size[1] * times)
    a, b = log_bucket(size, KOHYA_512), log_bucket(bigger, KOHYA_512)
    shape = size[0] / size[1]
    error = [max(x[0] / x[1] / shape, shape / (x[0] / x[1])) for x in (a, b)]
    assert error[0] == pytest.approx(error[1])


@LAW
@given(st.lists(SIZES, min_size=1, max_size=6), SPECS)
def test_every_placement_holds_its_promises(sizes, spec):
    placements = assign(sizes, spec)
    for p in placements:
        left, top, right, bottom = p.crop_box
        assert (right - left, bottom - top) == p.bucket
        assert 0 <= left <= right <= p.resized[0]
        assert 0 <= top <= bottom <= p.resized[1]
        assert abs(left - (p.resized[0] - right)) <= 1
        assert abs(top - (p.resized[1] - bottom)) <= 1
        assert p.bucket[0] % spec.step == p.bucket[1] % spec.step == 0
        assert 0 <= p.lost_fraction < 1
        # Without enlarging, kohya rounds one side to whole pixels and takes the other from it: up to half a pixel each.
        rounding = (1 - 0.5 / min(p.bucket)) ** 2 if spec.rule == "kohya" and not spec.upscale else 1
        assert p.bucket[0] * p.bucket[1] * rounding <= spec.resolution**2
        if not spec.upscale and spec.enabled and min(p.bucket) > spec.step:
            assert p.scale <= 1.2  # kohya rounds sides to the nearest step, so a hair above 1 is its own
    assert assign(sizes[::-1], spec) == placements[::-1]
    assert [assign([size], spec)[0] for size in sizes] == placements


@LAW
@given(SPECS.filter(lambda s: s.upscale))
def test_an_image_in_its_bucket_stays_there(spec):
    for p in assign(spec.buckets(), spec):
        assert p.resized == p.bucket
        assert p.lost_fraction == 0
        assert p.scale == 1


def test_small_images_are_not_enlarged():
    (p,) = assign([(400, 300)], BucketSpec(upscale=False))
    assert (p.bucket, p.resized, p.scale) == ((384, 256), (400, 300), 1)
    (p,) = assign([(2000, 1500)], BucketSpec(upscale=False))
    assert p.bucket in KOHYA_512
    (p,) = assign([(20, 20)], BucketSpec(upscale=False))
    assert p.bucket == (64, 64)


def test_without_buckets_there_is_the_square():
    (p,) = assign([(2000, 1000)], BucketSpec(enabled=False))
    assert p.bucket == (512, 512)
    assert p.lost_fraction == pytest.approx(0.5)


def test_defaults_follow_the_resolution():
    assert BucketSpec().buckets() == KOHYA_512
    assert BucketSpec(resolution=64, step=16).buckets() == make_buckets(64, 32, 128, 16)
    assert len(BucketSpec(resolution=1024, min=256, max=2048).buckets()) == 41


@pytest.mark.parametrize(
    ("resolution", "least", "most", "step", "limits", "count", "last"),
    [
        (512, 320, 1000, 64, (320, 1024), 9, (768, 320)),
        (768, 500, 1100, 64, (448, 1152), 15, (1152, 512)),
        (1024, 600, 1500, 128, (512, 1536), 11, (1536, 640)),
        (512, 448, 600, 48, (432, 624), 5, (576, 432)),
        (640, 64, 700, 40, (40, 720), 31, (720, 560)),
    ],
)
def test_kohya_rounds_the_least_side_down_and_the_most_up(resolution, least, most, step, limits, count, last):
    """Numbers of sd-scripts' own adjust_min_max_bucket_reso_by_steps and make_bucket_resolutions."""
    spec = BucketSpec(resolution=resolution, min=least, max=most, step=step, rule="kohya")
    assert (spec.shortest, spec.longest) == limits
    assert (len(spec.buckets()), spec.buckets()[-1]) == (count, last)
    by_log = BucketSpec(resolution=resolution, min=least, max=most, step=step)
    assert by_log.shortest >= least
    assert by_log.longest <= most


def test_specs_are_checked():
    with pytest.raises(Problems, match="min 576"):
        BucketSpec.parse({"min": 520})
    with pytest.raises(Problems, match="larger than resolution"):
        BucketSpec.parse({"resolution": 32})
    with pytest.raises(Problems) as caught:
        BucketSpec.parse({"stp": 64, "rule": "kohja", "step": 60})
    assert len(caught.value.problems) == 3
    with pytest.raises(UsageError):
        assign([(0, 5)], BucketSpec())


def test_the_table_counts_partial_batches():
    placements = assign([(512, 512)] * 5 + [(640, 384)] * 4 + [(300, 300)], BucketSpec())
    rows = bucket_table(placements, 4)
    assert [(r.bucket, r.images, r.batches, r.partial) for r in rows] == [((512, 512), 6, 2, 2), ((640, 384), 4, 1, 0)]
    assert rows[0].largest_scale == pytest.approx(512 / 300)
    rows = bucket_table(placements, 4, repeats=[2] * 9 + [1])
    assert [(r.images, r.partial) for r in rows] == [(11, 3), (8, 0)]
    assert bucket_table(placements[::-1], 4) == bucket_table(placements, 4)


def test_warnings():
    placements = assign([(512, 512)] * 4, BucketSpec())
    assert bucket_warnings(placements, 4) == []
    sizes = [*KOHYA_512[:10], (100, 100), (4000, 600)]
    found = bucket_warnings(assign(sizes, BucketSpec()), 4, names=[f"{i}.png" for i in range(12)])
    assert len(found) == 4
    assert "buckets (more than 9" in found[0]
    assert "fewer images than the batch of 4" in found[1]
    assert "10.png (5.1x)" in found[2]
    assert "11.png (40%)" in found[3]
    assert bucket_warnings(placements, 8)[0].startswith("1 bucket with fewer")
    assert bucket_warnings(placements, 8, repeats=[2] * 4) == []


# --- doing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(700, 500), (90, 200), (512, 512), (900, 120)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_fit_gives_the_bucket(size, mode):
    (p,) = assign([size], BucketSpec(resolution=128, step=16))
    assert fit(photo(*size).convert(mode), p).size == p.bucket
    assert fit_mask(photo(*size).convert("L"), p).size == p.bucket


def test_fit_is_resize_then_crop():
    image = photo(700, 500)
    (p,) = assign([image.size], BucketSpec(resolution=128, step=32))
    whole = image.resize(p.resized, Image.Resampling.HAMMING).crop(p.crop_box)
    difference = np.abs(np.asarray(fit(image, p), float) - np.asarray(whole, float))
    assert np.median(difference) <= 2


def test_shrinking_is_near_to_averaging_over_areas():
    noise = np.random.default_rng(0).integers(0, 255, (384, 384), dtype=np.uint8)
    image = Image.fromarray(noise)
    (p,) = assign([image.size], BucketSpec(resolution=128, step=32))
    areas = noise.reshape(128, 3, 128, 3).mean((1, 3))
    assert np.corrcoef(np.asarray(fit(image, p), float).ravel(), areas.ravel())[0, 1] > 0.9


def test_fit_of_what_fits_is_itself():
    image = photo(128, 128)
    (p,) = assign([image.size], BucketSpec(resolution=128, step=32))
    assert np.array_equal(fit(image, p), image)
    assert np.array_equal(fit(fit(image, p), p), image)


def test_a_long_panorama_costs_little_memory():
    (p,) = assign([(60_000, 4)], BucketSpec())
    assert p.resized[0] > 1_000_000
    assert fit(Image.new("RGB", (60_000, 4), (9, 8, 7)), p).getpixel((100, 100)) == (9, 8, 7)


def test_the_middle_stays_the_middle():
    image = Image.new("L", (900, 300), 0)
    image.paste(255, (440, 140, 460, 160))
    (p,) = assign([image.size], BucketSpec(enabled=False, resolution=128))
    array = np.asarray(fit(image, p), float)
    y, x = np.argwhere(array > 100).mean(axis=0)
    assert abs(y - 63.5) < 1
    assert abs(x - 63.5) < 1


def test_masks_never_overshoot_and_keep_their_mean():
    array = np.indices((64, 64)).sum(0) % 2 * 255
    mask = Image.fromarray(array.astype(np.uint8))
    for resolution, step in itertools.product((16, 256), (16,)):
        (p,) = assign([mask.size], BucketSpec(resolution=resolution, step=step))
        fitted = np.asarray(fit_mask(mask, p), float)
        assert abs(fitted.mean() - 127.5) < 2


def test_a_whole_image_is_left_as_it_is():
    image = photo(96, 64)
    assert np.array_equal(fit(image, unchanged_placement(image.size)), image)
