"""Prompts and adapter strengths by region, on tiny models of every family: laws of the attention and of ΔW."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from PIL import Image, ImageChops
from torch import Tensor

from bakehouse.adapters import OFT, FullDiff, LoHa, LoRA, inject
from bakehouse.data.weighted_prompt import plain_schedule
from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.region_map import ImageRegion, RegionMap
from bakehouse.models.regional_attention import RegionalGuidance, regional_attention
from bakehouse.models.text_to_image import ImageSpec, generate_images

FAMILIES = ("sd1", "sd2", "sdxl")
SIZE = 96, 64
"""Width and height in pixels: latents of 12 x 8, 6 x 4, 3 x 2, 2 x 1."""


def mask(left: float, right: float) -> Tensor:
    """All rows between two shares of the width."""
    found = torch.zeros(SIZE[1], SIZE[0])
    found[:, round(left * SIZE[0]) : round(right * SIZE[0])] = 1
    return found


def spec_of(*regions: tuple[str, Tensor], prompt: str = "a hat", base: float = 0.0, seed: int = 3) -> ImageSpec:
    made = [ImageRegion(where, plain_schedule(text, "", 2)) for text, where in regions]
    return ImageSpec(
        prompt=prompt, width=SIZE[0], height=SIZE[1], seed=seed, steps=2, guidance=3.0, sampler="euler",
        step_prompts=plain_schedule(prompt, "", 2), regions=tuple(made), region_base=base,
    )  # fmt: skip


def predicted(model, spec: ImageSpec, region_map: RegionMap | None = None, count: int = 1) -> Tensor:
    """One guided call of the network on noise, [count, 4, 8, 12]."""
    region_map = region_map or RegionMap()
    x = torch.randn(count, 4, SIZE[1] // 8, SIZE[0] // 8, generator=torch.Generator().manual_seed(1))
    empty = model.encode_negative([""])

    def guided(text: str) -> ClassifierFreeGuidance:
        return ClassifierFreeGuidance(model.encode_prompt([text] * count), empty, 3.0)

    texts = [region.step_prompts[0].conditions[0].text.pieces[0].text for region in spec.regions]
    guide = RegionalGuidance(guided(spec.prompt), [guided(text).prompts for text in texts], region_map)
    with torch.no_grad(), regional_attention(model, region_map, [spec] * count):
        return guide(lambda x_t, t, cond: model(x_t, t, cond), x, torch.full((count,), 400))


def plain(model, prompt: str) -> Tensor:
    x = torch.randn(1, 4, SIZE[1] // 8, SIZE[0] // 8, generator=torch.Generator().manual_seed(1))
    guide = ClassifierFreeGuidance(model.encode_prompt([prompt]), model.encode_negative([""]), 3.0)
    with torch.no_grad():
        return guide(lambda x_t, t, cond: model(x_t, t, cond), x, torch.full((1,), 400))


def adapter_on(model, spec):
    """An adapter whose every parameter is random."""
    generator = torch.Generator().manual_seed(4)
    adapter = inject(spec, model.trainable_modules(), generator=generator)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return adapter.eval()


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("base", [0.0, 0.3])
def test_one_region_of_the_same_prompt_is_the_plain_prompt(family, base, families):
    model = families[family]
    assert close(predicted(model, spec_of(("a hat", mask(0, 1)), base=base)), plain(model, "a hat"))
    halves = spec_of(("a hat", mask(0, 0.5)), ("a hat", mask(0.5, 1)), base=base)
    assert close(predicted(model, halves), plain(model, "a hat"))


@pytest.mark.parametrize("family", ("sd1", "sd2"))
def test_a_region_of_the_whole_picture_is_its_prompt(family, families):
    """SDXL's pooled prompt stays the main prompt's."""
    model = families[family]
    assert close(predicted(model, spec_of(("green shirt", mask(0, 1)))), plain(model, "green shirt"))
    assert not close(plain(model, "green shirt"), plain(model, "a hat"))


def test_without_share_a_region_is_nothing(families):
    model = families["sd1"]
    assert close(predicted(model, spec_of(("green shirt", mask(0, 0)))), plain(model, "a hat"))
    assert close(predicted(model, spec_of(("green shirt", mask(0, 1)), base=1.0)), plain(model, "a hat"))


def outputs_of_attention(model, spec: ImageSpec) -> list[Tensor]:
    """What the first cross-attention gives, which sees the same tokens whatever the prompts: [N, T, C]."""
    found: list[Tensor] = []
    attention = next(m for name, m in model.unet.named_modules() if name.endswith("attn2"))
    handle = attention.register_forward_hook(lambda _module, _args, out: found.append(out))
    try:
        predicted(model, spec)
    finally:
        handle.remove()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regions_prompt_does_not_touch_the_other_side(family, families):
    def outputs(right: str) -> Tensor:
        spec = spec_of(("green shirt", mask(0, 0.5)), (right, mask(0.5, 1)), base=0.2)
        (out,) = outputs_of_attention(families[family], spec)
        height, width = (8, 12) if out.shape[1] == 96 else (4, 6)
        return out.view(len(out), height, width, -1)

    a, b = outputs("red scarf"), outputs("a robot")
    middle = a.shape[2] // 2
    assert torch.equal(a[:, :, :middle], b[:, :, :middle])
    assert not torch.allclose(a[1:, :, middle:], b[1:, :, middle:], atol=1e-4)


def test_the_model_is_as_before(families):
    model = families["sd1"]
    before = plain(model, "a hat")
    predicted(model, spec_of(("green shirt", mask(0, 0.5))))
    assert torch.equal(plain(model, "a hat"), before)
    assert not [name for name, m in model.unet.named_modules() if name.endswith("attn2") and "forward" in vars(m)]


KINDS = {
    "lora": LoRA(rank=2, targets="full"),
    "norms": LoRA(rank=2, targets="full", train_norm=True),
    "loha": LoHa(rank=2, targets="full"),
    "oft": OFT(block_size=4),
    "diff": FullDiff(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ("sd1", "sdxl"))
def test_an_adapters_delta_is_where_its_region_is(kind, family, make_family):
    model = make_family(family)
    base = plain(model, "a hat")
    adapter = adapter_on(model, KINDS[kind])
    adapted = plain(model, "a hat")
    assert not close(adapted, base)

    def with_region(where: Tensor, strengths: Sequence[float]) -> Tensor:
        region_map = RegionMap()
        with adapter.scaled(1.0, by_place=region_map.strength(strengths)):
            return predicted(model, spec_of(("a hat", where)), region_map)

    assert close(with_region(mask(0, 1), (0.0, 1.0)), adapted), "everywhere: as without regions"
    assert close(with_region(mask(0, 0), (0.0, 1.0)), base), "nowhere: the base"
    half = with_region(mask(0, 0.5), (0.0, 1.0))
    assert not close(half, adapted) and not close(half, base)
    assert close(with_region(mask(0, 0.5), (1.0, 1.0)), adapted)
    assert close(plain(model, "a hat"), adapted), "afterwards it acts as before"


def test_a_delta_is_zero_outside_of_its_mask(families):
    """Layer by layer: tokens, feature maps at a lower resolution, and the timestep, which has no places."""
    region_map = RegionMap()
    masks = torch.stack([mask(0, 0.5), mask(0.5, 1)])[None]
    with region_map.filled(masks, 0.0), region_map.guiding((), (8, 12)):
        strength = region_map.strength((0.0, 0.8, -0.5))
        tokens, pixels, alone = (strength(torch.zeros(2, *shape)) for shape in ((24, 5), (5, 4, 6), (5,)))
        assert isinstance(tokens, Tensor) and isinstance(pixels, Tensor) and isinstance(alone, Tensor)
        want = torch.tensor([0.8] * 3 + [-0.5] * 3).expand(2, 1, 4, 6)
        torch.testing.assert_close(pixels, want)
        torch.testing.assert_close(tokens, want.reshape(2, 24, 1))
        torch.testing.assert_close(alone, torch.full((2, 1), 0.15))
        with region_map.attending(2):
            assert strength(torch.zeros(2, 24, 5)) == -0.5
        with pytest.raises(ValueError, match="23 tokens"):
            strength(torch.zeros(2, 23, 5))


def test_where_regions_overlap_they_share(families):
    region_map = RegionMap()
    masks = torch.stack([mask(0, 1), mask(0.5, 1)])[None]
    with region_map.filled(masks, 0.2), region_map.guiding((), (8, 12)):
        shares = [one.view(8, 12)[0] for one in region_map.prompt_shares(torch.zeros(1, 96, 5))]
    torch.testing.assert_close(shares[0], torch.full((12,), 0.2))
    torch.testing.assert_close(shares[1], torch.tensor([0.8] * 6 + [0.4] * 6))
    torch.testing.assert_close(shares[2], torch.tensor([0.0] * 6 + [0.4] * 6))


def test_a_batch_of_other_masks_is_what_each_is_alone(families):
    model = families["sd1"]
    specs = [
        spec_of(("green shirt", mask(0, share)), ("red scarf", mask(share, 1)), seed=seed)
        for seed, share in ((1, 0.25), (2, 0.75))
    ]
    together = generate_images(model, specs)
    for spec, image in zip(specs, together, strict=True):
        (alone,) = generate_images(model, [spec])
        assert largest_difference(alone, image) <= 1
    assert largest_difference(*together) > 5


def largest_difference(a: Image.Image, b: Image.Image) -> int:
    return max(high for _, high in ImageChops.difference(a, b).getextrema())
