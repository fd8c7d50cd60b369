import json

import pytest

from bakehouse.core.errors import Problems, UsageError
from bakehouse.data import read_dataset

from .make import save


def folders(root, tree):
    """Images at every name of `tree`."""
    for i, name in enumerate(tree):
        save(root / name, seed=i)
    return root


def test_a_plain_folder_is_one_concept(tmp_path):
    (concept,) = read_dataset(folders(tmp_path, ["a.png", "in/b.png"]))
    assert concept.folder == tmp_path
    assert len(concept.records) == 2
    assert (concept.class_tokens, concept.repeats, concept.is_reg) == (None, None, False)


@pytest.mark.parametrize("parent", ["", "img/"])
def test_kohya_folders(tmp_path, parent):
    tree = [f"{parent}10_zwx person/a.png", f"{parent}3_other_dog/b.png", "reg/1_person/c.png", f"{parent}loose/d.png"]
    concepts = read_dataset(folders(tmp_path, [*tree, f"{parent}2024_summer/e.png"]))
    found = [(c.folder.name, c.class_tokens, c.repeats, c.is_reg) for c in concepts]
    assert found == [
        ("10_zwx person", "zwx person", 10, False),
        ("3_other_dog", "other_dog", 3, False),
        ("1_person", "person", 1, True),
    ]
    assert [r.concept for c in concepts for r in c.records] == [0, 1, 2]
    assert "not used: 2024_summer, loose" in concepts[0].notes[0]


def test_an_empty_kohya_folder_is_a_note(tmp_path):
    folders(tmp_path, ["2_a/a.png"])
    (tmp_path / "5_b").mkdir()
    (concept,) = read_dataset(tmp_path)
    assert "5_b has no images" in concept.notes[0]


def test_years_are_no_repeats(tmp_path):
    (concept,) = read_dataset(folders(tmp_path, ["2023_beach/a.png", "2024_snow/b.png"]))
    assert concept.repeats is None
    assert len(concept.records) == 2


def test_dreambooth_concepts_list(tmp_path):
    folders(tmp_path, ["dog/a.png", "cat/b.png"])
    entries = [
        {
            "instance_prompt": "photo of zwx dog",
            "class_prompt": "photo of a dog",
            "instance_data_dir": "dog",
            "class_data_dir": "made/dog",
            "num_class_images": 200,
            "instance_promt": "x",
        },
        {"instance_prompt": "ukj cat", "instance_data_dir": str(tmp_path / "cat")},
    ]
    path = tmp_path / "concepts_list.json"
    path.write_text(json.dumps(entries), encoding="utf-8-sig")
    for source in (path, tmp_path):
        dog, cat = read_dataset(source)
        assert (dog.class_tokens, dog.class_prompt, dog.class_images) == ("photo of zwx dog", "photo of a dog", 200)
        assert dog.class_folder == tmp_path / "made/dog"
        assert "did you mean 'instance_prompt'" in dog.notes[0]
        assert (cat.class_tokens, cat.class_prompt, cat.class_folder) == ("ukj cat", None, None)
        assert cat.records[0].concept == 1


def test_all_that_is_wrong_in_a_list_is_told_at_once(tmp_path):
    path = tmp_path / "concepts_list.json"
    path.write_text(json.dumps([{"instance_prompt": "x"}, {"instance_data_dir": "C:\\dogs"}]))
    with pytest.raises(Problems) as caught:
        read_dataset(path)
    assert [p.split(":")[0] for p in caught.value.problems] == ["concept 1", "concept 2"]
    for text in ("{}", "[]", "[1]", "nonsense"):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"concepts_list\.json"):
            read_dataset(path)


@pytest.mark.parametrize("key", ["text", "caption", "prompt"])
def test_hugging_face_metadata(tmp_path, key):
    folders(tmp_path, ["a.png", "in/b.png", "c.png"])
    (tmp_path / "c.txt").write_text("its own")
    rows = [
        {"file_name": "a.png", key: "zwx, é"},
        {"file_name": "in/b.png", key: "two"},
        {"file_name": "gone.png", key: "x"},
    ]
    text = "\n".join(json.dumps(row) for row in [*rows, {key: "no name"}])
    (tmp_path / "metadata.jsonl").write_text(text + "\n\n", encoding="utf-16")
    for source in (tmp_path, tmp_path / "metadata.jsonl"):
        (concept,) = read_dataset(source)
        assert [(r.path.name, r.captions) for r in concept.records] == [
            ("a.png", ("zwx, é",)),
            ("c.png", ("its own",)),
            ("b.png", ("two",)),
        ]
        assert concept.records[0].caption_path is None
        notes = " / ".join(concept.notes)
        for words in ("UTF-16", "missing: gone.png", "used with own captions: c.png", "without file_name"):
            assert words in notes


def test_hugging_face_csv_and_split(tmp_path):
    folders(tmp_path, ["train/a.png"])
    (tmp_path / "train/metadata.csv").write_text('file_name,text\n./a.png,"zwx, dog"\n')
    (concept,) = read_dataset(tmp_path)
    assert concept.records[0].captions == ("zwx, dog",)
    assert concept.notes == ()


def test_a_broken_line_is_named(tmp_path):
    folders(tmp_path, ["a.png"])
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n{"file\n')
    with pytest.raises(UsageError, match="line 2"):
        read_dataset(tmp_path)


TOML = """
[general]
shuffle_caption = true
caption_extension = ".caption"
keep_tokens = 1

[[datasets]]
resolution = [512, 768]
batch_size = 4
enable_bucket = true
bucket_no_upscale = true
keep_tokens = 2

  [[datasets.subsets]]
  image_dir = "zwx"
  class_tokens = "zwx person"
  num_repeats = 10
  keep_tokens = 3
  caption_dropout_rate = 0.1
  flip_aug = true
  color_aug = true
  random_crop = false
  num_repeat = 3

  [[datasets.subsets]]
  image_dir = "reg"
  is_reg = true
  class_tokens = "person"
  token_warmup_step = 0.2
"""


def test_kohya_toml(tmp_path):
    folders(tmp_path, ["zwx/a.png", "zwx/deeper/no.png", "reg/b.png"])
    (tmp_path / "zwx/a.txt").write_text("from txt")
    (tmp_path / "zwx/a.caption").write_text("from caption")
    (tmp_path / "data.toml").write_text(TOML)
    zwx, reg = read_dataset(tmp_path / "data.toml")
    assert (zwx.class_tokens, zwx.repeats, zwx.is_reg) == ("zwx person", 10, False)
    assert [r.captions for r in zwx.records] == [("from caption",)]
    assert (reg.class_tokens, reg.repeats, reg.is_reg) == ("person", 1, True)
    assert reg.records[0].concept == 1


def test_kohya_fine_tuning_metadata(tmp_path):
    folders(tmp_path, ["img/a.png", "img/b.png"])
    meta = {"/somewhere/img/a.png": {"caption": "a dog", "tags": "x, y"}, "b": {"tags": "z"}}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    text = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img"\nmetadata_file = "meta.json"\n'
    (tmp_path / "d.toml").write_text(text)
    (concept,) = read_dataset(tmp_path / "d.toml")
    assert [r.captions for r in concept.records] == [("a dog, x, y",), ("z",)]


def test_all_that_is_wrong_in_a_toml_is_told_at_once(tmp_path):
    text = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "none"\n[[datasets.subsets]]\nnum_repeats = 2\n'
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises(Problems) as caught:
        read_dataset(tmp_path / "d.toml")
    assert len(caught.value.problems) == 2
    for bad in ("model = 3", "datasets = 3", "[datasets]", "[[datasets]]"):
        (tmp_path / "d.toml").write_text(bad)
        with pytest.raises(UsageError, match="not a kohya dataset"):
            read_dataset(tmp_path / "d.toml")


def test_values_of_a_wrong_sort_are_usage_errors(tmp_path):
    folders(tmp_path, ["a/a.png"])
    for line in (
        'num_repeats = "many"',
        "num_repeats = -1",
    ):
        (tmp_path / "d.toml").write_text(
            f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\nenable_bucket = true\n{line}\n'
        )
        with pytest.raises(UsageError):
            read_dataset(tmp_path / "d.toml")


def test_what_is_no_dataset(tmp_path):
    path = save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="is in no known dataset format"):
        read_dataset(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_dataset(tmp_path / "none")
    with pytest.raises(UsageError, match="no images"):
        (tmp_path / "empty").mkdir()
        read_dataset(tmp_path / "empty")
