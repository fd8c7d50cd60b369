"""The world that crumb is trained on: captions say what is drawn, and what is held out has no word."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bakehouse.data.crumb_attributes import Vocabulary
from tools.crumb import tagger, training_images, vae, words
from tools.crumb.training_images import Figure, Picture, caption, prompt


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    path = tmp_path_factory.mktemp("words") / "vocabulary.json"
    path.write_text(json.dumps(words.vocabulary()))
    return Vocabulary.load(path)


def person(rng: random.Random) -> Figure:
    said = words.PEOPLE["words"]
    tags = [
        f"{rng.choice(words.HAIR_COLORS)} {rng.choice([h for h in said['hair'] if h not in words.BALD])}",
        f"{rng.choice(words.SKINS)} skin",
        f"{rng.choice(words.CLOTH_COLORS)} {rng.choice(said['clothes'])}",
        f"{rng.choice(words.GLASS_COLORS)} {rng.choice(said['glasses'])}",
        rng.choice(said["eyes"]),
        rng.choice(said["expression"]),
    ]
    style = rng.choice([s for s in words.FIGURE_STYLES if s != "bottts"])
    return Figure("person", "person", style, tuple(tags))


def robot(rng: random.Random) -> Figure:
    return Figure("robot", "robot", "bottts", (f"{rng.choice(words.ROBOT_COLORS)} robot", "square head"))


def concept(rng: random.Random) -> Figure:
    name = rng.choice(words.concept_names())
    tags = [f"{rng.choice(words.CONCEPT_COLORS)} {name}"] if rng.random() < 0.5 else []
    return Figure(name, "thing", rng.choice(list(words.ICON_STYLES)), (*tags, *(["face"] * (rng.random() < 0.3))))


def pictures(count: int, seed: int) -> Iterator[Picture]:
    rng = random.Random(seed)
    places = [
        *words.SCENES,
        "red background",
        "navy and pink striped background",
        "white background with red polka dots",
    ]
    for _ in range(count):
        figures = tuple(rng.choice((person, robot, concept))(rng) for _ in range(rng.choice((1, 1, 1, 2))))
        framing = rng.choice(words.FRAMINGS) if len(figures) == 1 else "from afar"
        yield Picture(figures, rng.choice(places), framing, ((10, 10, 100),) * len(figures))


def test_a_prompt_names_what_the_tagger_is_taught(vocabulary: Vocabulary) -> None:
    """What the vocabulary reads from a prompt is the tagger's target, group by group, unless that is open."""
    rng = random.Random(2)
    for picture in pictures(400, seed=1):
        text = prompt(picture, rng)
        said = vocabulary.atoms_of_prompt(text)
        assert said, text
        targets = dict(zip(vocabulary.groups, tagger.targets(picture, vocabulary), strict=True))
        for group, value in said.items():
            if targets[group] != tagger.UNKNOWN:
                assert vocabulary.groups[group][targets[group]] == value, (text, group)


def test_every_attribute_of_the_figures_has_a_word(vocabulary: Vocabulary) -> None:
    for group in ("headwear", "glasses", "facial hair", "eyes", "expression", "robot head", "robot top"):
        for value in words.PEOPLE["words"][group]:
            assert vocabulary.atoms(value) == {group: value}
    for color, name in itertools.product(words.CONCEPT_COLORS[:2], words.concept_names()):
        assert vocabulary.atoms(f"{color} {name}") == {"class": name, "concept color": color}
        assert vocabulary.atoms(f"{color} {name} face on the left") == {"left": name, "concept color": color}


def test_no_two_phrases_mean_different_things(vocabulary: Vocabulary) -> None:
    """A concept has no name that is also an attribute of people."""
    attributes = {v for group in words.PEOPLE["words"].values() for v in group}
    assert not attributes & set(words.concept_names())
    styles = list(itertools.chain.from_iterable(words.STYLE_WORDS[s] for s in words.STYLE_WORDS if s != "bottts"))
    assert len(styles) == len(set(styles))


def test_what_is_held_out_has_no_word(vocabulary: Vocabulary) -> None:
    held_out = [c["name"] for c in words.CONCEPTS["concepts"] if c["heldout"]]
    assert len(held_out) == 30
    assert not set(vocabulary.groups["class"]) & set(held_out)
    assert not set(vocabulary.groups["style"]) & {"adventurer", "micah", "miniavs", "fxemoji"}
    hair = set(vocabulary.groups["hair color"])
    assert not hair & set(words.PEOPLE["heldout"]["hair"])


def test_a_close_up_says_nothing_of_clothes() -> None:
    rng = random.Random(3)
    figure = Figure("person", "person", "anime", ("red afro", "tan skin", "blue blazer and shirt", "smile"))
    picture = Picture((figure,), "at night", "close-up", ((0, -10, 190),))
    assert all("blazer" not in caption(picture, rng) for _ in range(50))
    assert any("afro" in caption(picture, rng) for _ in range(50))


def test_a_picture_is_read_as_it_was_written() -> None:
    for picture in pictures(20, seed=5):
        assert Picture.parse(json.loads(picture.line())) == picture


def test_figures_are_where_their_boxes_say() -> None:
    rng = random.Random(0)
    figure = Image.new("RGBA", (160, 160), (255, 0, 0, 255))
    ground = Image.new("RGB", (128, 128), (0, 0, 255))
    for framing in words.FRAMINGS:
        image, (x, y, side) = training_images.frame(figure, ground, framing, "animal", rng)
        red = np.asarray(image)[..., 0] > 128
        rows, columns = np.nonzero(red)
        assert (columns.min(), rows.min()) == (max(0, x), max(0, y))
        assert (columns.max(), rows.max()) == (min(127, x + side - 1), min(127, y + side - 1))


def test_a_mirror_exchanges_left_and_right() -> None:
    x, y = torch.rand(8, 3, 128, 128), torch.arange(8)[:, None] * 10 + torch.arange(3)
    before = y.clone()
    tagger.augment(x, y, (1, 2), torch.Generator().manual_seed(0))
    swapped = (y[:, 1] == before[:, 2]) & (y[:, 2] == before[:, 1])
    assert int(swapped.sum()) == 4
    assert torch.equal(y[~swapped], before[~swapped])
    assert torch.equal(y[:, 0], before[:, 0])


def test_a_broken_face_is_changed_inside_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    face = torch.rand(3, 40, 40)
    for _ in range(30):
        broken = tagger.broken_face(face, rng)
        corners = (slice(None), slice(0, 3), slice(0, 3))
        assert torch.equal(broken[corners], face[corners])
        assert float((broken - face)[:, 12:28, 12:28].abs().mean()) > 0.02


def test_the_autoencoder_starts_as_principal_components() -> None:
    """Before any training the latents are uncorrelated and of about unit size, whatever the images' contrast."""
    torch.manual_seed(0)
    coarse = torch.nn.functional.interpolate(torch.rand(40, 3, 8, 8) * 2 - 1, size=(64, 64), mode="bilinear")
    images = (coarse + 0.1 * torch.randn(40, 3, 64, 64)).clamp(-1, 1)
    model = vae.new_vae(8).eval()
    vae.start_as_principal_components(model, images)
    with torch.no_grad():
        z = model.encode(images).latent_dist.mean.permute(1, 0, 2, 3).flatten(1)
    size = z.square().mean(1).sqrt()
    assert float(size.min()) > 0.5 and float(size.max()) < 1.6
    cosines = (z @ z.T / z.shape[1]) / (size[:, None] * size[None])
    assert float((cosines - torch.eye(8)).abs().max()) < 0.35


def test_normalising_changes_the_latents_and_not_the_pictures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 255, (60, 128, 128, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    model = vae.new_vae(8).eval()
    x = vae.to_float(images[:4])
    vae.start_as_principal_components(model, x)
    torch.nn.init.normal_(model.decoder.conv_out.weight, std=0.1)
    with torch.no_grad():
        before = model.decode(model.encode(x).latent_dist.mean).sample
        vae.normalise(tmp_path, model)
        z = model.encode(vae.to_float(images)).latent_dist.mean * vae.SCALING
        after = model.decode(model.encode(x).latent_dist.mean).sample
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(8), atol=0.02)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(8), atol=0.02)
    assert torch.allclose(before, after, atol=1e-4)
