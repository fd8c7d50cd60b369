from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.data.crumb_attributes import Vocabulary
from bakehouse.evaluation.image_scorers import CrumbScorer, TransformersScorer, scorer_for
from bakehouse.models.crumb import crumb_folder
from bakehouse.vision.taggers.crumb_tagger import CrumbTagger, TaggerNet, TagResult

IMAGES = [Image.new("RGB", (64, 48), color) for color in ("red", "blue", "white")]


@pytest.fixture(scope="module")
def crumb_scorer():
    torch.manual_seed(0)
    vocabulary = Vocabulary.load()
    outputs = sum(len(values) for values in vocabulary.groups.values())
    return CrumbScorer(CrumbTagger(TaggerNet(outputs, [8, 16], [1, 1], 32), vocabulary, size=32))


def test_crumbs_scorer_reads_prompts_and_names_attributes(crumb_scorer):
    seen = crumb_scorer.attributes(IMAGES)
    assert len(seen) == 3
    assert set(seen[0]) == set(crumb_scorer.tagger.vocabulary.groups)
    assert crumb_scorer.requested_attributes("person, red hoodie, at the beach")["background"] == "beach"
    embeddings = crumb_scorer.embed(IMAGES)
    assert embeddings.shape == (3, 32)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-5)


def probability(scorer, group, value):
    return float(scorer.tagger(IMAGES[:1]).probs[group][0][scorer.tagger.vocabulary.groups[group].index(value)])


def test_a_prompt_scores_the_mean_probability_of_what_it_asks_for(crumb_scorer):
    scores = crumb_scorer.prompt_scores(IMAGES[:1] * 3, ["portrait", "portrait, in a forest", "nothing known"])
    portrait, forest = (
        probability(crumb_scorer, "framing", "portrait"),
        probability(crumb_scorer, "background", "forest"),
    )
    assert scores[:2] == pytest.approx([portrait, (portrait + forest) / 2], abs=1e-5)
    assert np.isnan(scores[2])


def test_the_class_counts_only_where_nothing_else_is_asked(crumb_scorer):
    framing, robot = probability(crumb_scorer, "framing", "portrait"), probability(crumb_scorer, "class", "robot")
    assert crumb_scorer.prompt_scores(IMAGES[:1], ["robot, portrait, big smile"]) == pytest.approx([framing], abs=1e-5)
    assert crumb_scorer.prompt_scores(IMAGES[:1], ["robot"]) == pytest.approx([robot], abs=1e-5)


def test_faces_are_read_on_what_has_one(crumb_scorer):
    assert crumb_scorer.broken(IMAGES) is None or "broken" in crumb_scorer.tagger.vocabulary.groups["face"]
    vocabulary = replace(Vocabulary.load(), groups={"class": ("person", "robot", "dog"), "face": ("whole", "broken")})
    probs = {
        "class": np.eye(3, dtype=np.float32)[[0, 1, 2, 0]],
        "face": np.array([[0.2, 0.8], [0.1, 0.9], [0.1, 0.9], [0.6, 0.4]], dtype=np.float32),
    }

    def tagger(images):
        return TagResult(vocabulary, probs, np.zeros((4, 1), np.float32))

    tagger.vocabulary = vocabulary
    assert CrumbScorer(tagger).broken(IMAGES).tolist() == [True, True, False, False]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny random CLIP and DINOv2 models, as folders of transformers."""
    import shutil

    import transformers as t

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("scorers")
    text = {
        "vocab_size": 1131,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text |= {"bos_token_id": 1129, "eos_token_id": 1130, "pad_token_id": 1130}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8}
    clip = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    clip.save_pretrained(root / "clip")
    for file in (crumb_folder() / "tokenizer").iterdir():
        shutil.copy(file, root / "clip" / file.name)
    size = {"height": 32, "width": 32}
    t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(root / "clip")
    dino = t.Dinov2Model(
        t.Dinov2Config(hidden_size=20, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    )
    dino.save_pretrained(root / "dino")
    t.BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(
        root / "dino"
    )
    return root


def test_clip_reads_the_prompt_and_dino_sees_the_subject(folders):
    scorer = TransformersScorer(folders / "clip", folders / "dino", batch=2)
    embeddings = scorer.embed(IMAGES)
    assert embeddings.shape == (3, 20)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-5)
    prompts = ["person, at the beach", "robot", "person, at the beach"]
    scores = scorer.prompt_scores(IMAGES, prompts)
    assert scores.shape == (3,)
    alone = [scorer.prompt_scores([i], [p])[0] for i, p in zip(IMAGES, prompts, strict=True)]
    assert scores == pytest.approx(alone, abs=1e-4), "neighbours do not count"
    assert scorer.attributes(IMAGES) == [{}, {}, {}]
    assert scorer.requested_attributes("anything") == {}
    assert scorer.has_floor


def test_clip_alone_measures_the_subject_too(folders):
    scorer = TransformersScorer(folders / "clip", None)
    assert scorer.embed(IMAGES).shape == (3, 12)
    assert scorer.measures.startswith("CLIP-I")
    assert scorer.prompt_scores([], []).shape == (0,)


def test_clip_t_is_transformers_own(folders):
    """The cosine that transformers itself computes as logits_per_image / exp(logit_scale)."""
    scorer = TransformersScorer(folders / "clip", None)
    pixels = scorer._clip_processor(images=IMAGES, return_tensors="pt")
    tokens = scorer._tokenizer(["robot"], return_tensors="pt")
    with torch.no_grad():
        out = scorer.clip(**pixels, **tokens)
        expected = (out.logits_per_image[:, 0] / scorer.clip.logit_scale.exp()).numpy()
    assert scorer.prompt_scores(IMAGES, ["robot"] * 3) == pytest.approx(expected, abs=1e-5)


def test_the_scorer_follows_the_model(folders):
    scorer = scorer_for("sd1", clip=folders / "clip", dino=folders / "dino")
    assert isinstance(scorer, TransformersScorer)
    assert isinstance(scorer_for("crumb", clip=folders / "clip", dino=folders / "dino"), TransformersScorer)


def test_a_scorer_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be loaded"):
        TransformersScorer(tmp_path / "nothing", None)


def test_a_model_that_reads_no_text_is_no_clip(folders):
    with pytest.raises(UsageError, match="no text encoder"):
        TransformersScorer(folders / "dino", None)


def test_a_scorer_says_what_it_sees_in_the_words_of_prompts(crumb_scorer, folders):
    own = {"hair": "afro", "hair color": "pink", "background": "beach"}
    assert crumb_scorer.describe(IMAGES, "person", own) == ["pink afro"]
    assert crumb_scorer.is_reliable("hair color")
    assert not crumb_scorer.is_reliable("mouth")
    assert "robot" in crumb_scorer.classes
    clip = TransformersScorer(folders / "clip", None)
    assert len(clip.describe(IMAGES, "dog", {})) <= 4
    assert not clip.is_reliable("hair color")


def test_patches_cover_the_image_in_a_grid(crumb_scorer, folders):
    dino = TransformersScorer(folders / "clip", folders / "dino", batch=2)
    clip = TransformersScorer(folders / "clip", None)
    for scorer, grid, width in ((crumb_scorer, (8, 8), 16), (dino, (2, 2), 20), (clip, (4, 4), 16)):
        found = scorer.patches(IMAGES)
        assert found.grid == grid
        assert found.features.shape == (3, grid[0] * grid[1], width)
        assert scorer.patches([]).features.shape == (0, grid[0] * grid[1], width)
        assert scorer.patches(IMAGES[1:]).features == pytest.approx(found.features[1:], abs=1e-4)
        assert scorer.broken(IMAGES) is None


def test_a_patch_is_where_its_content_is(crumb_scorer):
    plain, marked = Image.new("RGB", (32, 32), "white"), Image.new("RGB", (32, 32), "white")
    marked.paste("black", (20, 4, 24, 8))
    before, after = (crumb_scorer.patches([image]).features[0] for image in (plain, marked))
    change = np.abs(after - before).sum(axis=1)
    assert change.argmax() in {8 * y + x for y in (0, 1, 2) for x in (4, 5, 6)}
