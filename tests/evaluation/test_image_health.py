import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bakehouse.evaluation.image_cache import AdapterVariant, PipelineImageGenerator
from bakehouse.evaluation.image_checks import ImageChecks
from bakehouse.evaluation.image_health import HealthJudge, error_statistics
from bakehouse.evaluation.prompt_set import make_prompts
from bakehouse.generation.model_source import ModelSource
from bakehouse.recipe.recipe import ConceptSpec


def maps(count, seed, level=1.0):
    """Error maps [N, 3, 16, 16] of healthy images: their scale varies a little from image to image."""
    rng = np.random.default_rng(seed)
    return level * np.exp(0.1 * rng.normal(size=(count, 1, 1, 1))) * rng.gamma(4.0, 0.25, size=(count, 3, 16, 16))


def test_few_healthy_images_are_called_broken():
    alarms = [HealthJudge.fit([maps(40, s)]).broken(maps(200, 100 + s)).mean() for s in range(5)]
    assert np.mean(alarms) <= 0.05


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_errors_far_from_the_usual_are_broken_on_either_side(factor):
    judge = HealthJudge.fit([maps(40, 1)])
    assert judge.share(factor * maps(20, 2)).value == 1


def test_a_small_region_is_enough():
    judge, damaged = HealthJudge.fit([maps(40, 1)]), maps(20, 2)
    damaged[:, :, 4:8, 9:13] *= 5
    assert judge.broken(damaged).mean() >= 0.9


def test_photos_that_the_base_finds_hard_are_healthy():
    """A subject that the base never saw has larger errors; images between the two are healthy as well."""
    both, alone = HealthJudge.fit([maps(30, 1), maps(16, 2, level=2.5)]), HealthJudge.fit([maps(30, 1)])
    assert alone.broken(maps(40, 3, level=2.5)).mean() >= 0.9
    assert both.broken(maps(40, 3, level=2.5)).mean() <= 0.1
    assert both.broken(maps(40, 4, level=1.6)).mean() <= 0.1
    assert both.broken(maps(40, 5, level=8)).mean() == 1


def test_too_few_healthy_images_say_nothing():
    for groups in ([], [maps(15, 1)], [maps(0, 1)]):
        judge = HealthJudge.fit(groups)
        assert judge.threshold == math.inf
    judge = HealthJudge.fit([maps(15, 1)])
    assert not judge.broken(9 * maps(5, 2)).any()
    assert math.isnan(judge.share(9 * maps(5, 2)).value)


def test_no_images_are_no_share():
    judge = HealthJudge.fit([maps(20, 1)])
    assert judge.broken(maps(0, 2)).shape == (0,)
    assert math.isnan(judge.share(maps(0, 2)).value)


def test_statistics_are_means_and_local_extremes():
    one = np.ones((1, 1, 16, 16))
    one[..., :4, :4] = 3
    found = np.exp(error_statistics(one)[0])
    assert found == pytest.approx([1 + 2 / 16, 3, 1, 3, 1])
    with pytest.raises(ValueError, match="expected"):
        error_statistics(np.ones((2, 3)))


def test_noise_is_broken_for_the_embedded_base():
    """The embedded base finds noise, and an empty image, unlike a figure; one loaded model serves all."""
    from bakehouse.data.open_image import open_image
    from bakehouse.data.scan import scan
    from bakehouse.models import crumb_folder

    records = scan(crumb_folder().parent / "examples" / "mira").records
    photos = [open_image(r.path).convert("RGB").resize((128, 128)) for r in records]
    generator = PipelineImageGenerator(ModelSource("crumb"), "cpu")
    healthy = generator.denoising_errors(photos, ["person"] * len(photos))
    assert healthy.shape[0] == 16
    assert healthy.shape[2:] == (16, 16)
    judge = HealthJudge.fit([healthy])
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    assert judge.broken(generator.denoising_errors([Image.fromarray(n) for n in noise], ["person"] * 2)).all()
    loaded = generator._pipeline
    assert generator._open(AdapterVariant()) is loaded
    generator.close()


@pytest.mark.parametrize(("of_photos", "counts"), [((False,) * 20, True), ((True, True, True) + (False,) * 17, False)])
def test_a_scorer_that_calls_the_photos_broken_is_not_asked(tmp_path, of_photos, counts):
    """A reader of faces is no judge of drawings that it does not know."""
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    errors = maps(20, 1)
    cache = SimpleNamespace(
        denoising_errors=lambda images, prompts: errors[: len(images)],
        paths=lambda variant, prompts: paths,
        load=lambda variant, prompts: [None] * 20,
    )
    scorer = SimpleNamespace(broken=lambda images: np.array(of_photos[: len(images)] if images[0] else (True,) * 20))
    checks = ImageChecks(cache, scorer)
    prompts = make_prompts(ConceptSpec(folder=tmp_path, subject="zwx person"), kind="character", crumb=True, count=20)
    judge = checks.health_judge([SimpleNamespace(path=p) for p in paths], prompts.class_prompts, "person")
    share, which = checks.broken(AdapterVariant(), prompts.subject, judge)
    assert (share.value == 1) == counts
    assert (len(which) == 20) == counts
