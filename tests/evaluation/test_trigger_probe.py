"""Whether words are free: the laws of the probe on a tiny base, what it says of crumb's own words on crumb."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from PIL import Image

from bakehouse.adapters import LoRA, inject, metadata_for, save_adapter
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Progress, result_of
from bakehouse.core.files import cache_dir
from bakehouse.evaluation.trigger_probe import Kin, ProbeSpec, bank_of, bare_base, draw_looks, probe_words
from bakehouse.evaluation.trigger_probe.control_words import Controls
from bakehouse.evaluation.trigger_probe.nearest_words import Neighbours
from bakehouse.evaluation.trigger_probe.prediction_shift import TIMES, Shifts
from bakehouse.evaluation.trigger_probe.probe_result import KNOWN_FROM, WEAK_FROM, Scale, judge
from bakehouse.generation import ModelSource, Pipeline
from bakehouse.models import load_model

QUICK = ProbeSpec(noises=1, rare=4, known=4)
WORDS = ["zwx", "red hair", "qvk"]


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Each call gives the probe an empty memory, so that nothing is equal only because it was kept."""

    def fresh(name="memory"):
        monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / name))

    fresh()
    return fresh


@pytest.fixture(scope="module")
def bank():
    """Crumb's words, few of them: tiny models heed none of them anyway."""
    crumbs = bank_of("crumb")
    return dataclasses.replace(crumbs, words=crumbs.words[:24])


def ran(work):
    """What a generator returns, and what it said on the way."""
    events = []
    return result_of(work, events.append), events


def probed(model, words, bank, spec=QUICK):
    return ran(probe_words(model, words, bank, spec))[0]


def make_shifts(model, **more):
    return Shifts(model, **{"class_word": "person", "noises": 2, "seed": 0, **more})


# --- laws -------------------------------------------------------------------------------------------------------------


def test_the_same_prompt_is_no_shift_and_another_is_some(tiny, fresh):
    shifts = make_shifts(tiny)
    assert shifts.of("") == 0
    assert shifts.of("zwx") > 0
    moved = shifts.direction("zwx")
    assert moved.shape == (2 * len(TIMES), 4, 8, 8)
    assert shifts.of("zwx") == pytest.approx(float(moved.square().mean().sqrt()), rel=1e-12)
    assert shifts.likeness(moved, moved) == pytest.approx(1)
    assert shifts.likeness(moved, -moved) == pytest.approx(-1)
    assert shifts.likeness(moved, torch.zeros_like(moved)) == 0


def test_the_seed_decides(tiny, bank, fresh):
    first = probed(tiny, WORDS, bank)
    fresh("again")
    assert probed(tiny, WORDS, bank) == first
    other = probed(tiny, WORDS, bank, QUICK.model_copy(update={"seed": 7}))
    assert [r.shift for r in other.readings] != [r.shift for r in first.readings]
    assert other.rare != first.rare


def test_what_is_said_of_a_word_depends_on_no_other(tiny, bank, fresh):
    together = {r.word: r for r in probed(tiny, WORDS, bank).readings}
    fresh("turned")
    assert {r.word: r for r in probed(tiny, WORDS[::-1], bank).readings} == together
    fresh("alone")
    assert probed(tiny, ["red hair"], bank).readings == (together["red hair"],)


def test_batches_do_not_change_a_shift(tiny, fresh, monkeypatch):
    whole = make_shifts(tiny).of("zwx")
    fresh("one by one")
    monkeypatch.setattr("bakehouse.evaluation.trigger_probe.prediction_shift._MOST", 1)
    assert make_shifts(tiny).of("zwx") == pytest.approx(whole, rel=1e-4)


def test_states_are_those_of_the_sampler(tiny, fresh):
    """They stand on the timesteps that the noise schedule has for them: pure noise is not among them."""
    shifts = make_shifts(tiny)
    (states,) = shifts._states
    assert states.t.tolist() == [749, 749, 499, 499, 249, 249]
    assert states.x_t.shape == (6, 4, 8, 8)


def test_what_was_measured_is_kept_and_a_damaged_memory_measured_again(tiny, bank, fresh, monkeypatch):
    first = probed(tiny, ["zwx"], bank)
    calls = []
    forward = type(tiny).forward
    monkeypatch.setattr(type(tiny), "forward", lambda self, *a: calls.append(1) or forward(self, *a))
    again, events = ran(probe_words(tiny, ["zwx"], bank, QUICK))
    assert again == first
    assert not [e for e in events if isinstance(e, Progress) and e.what == "measuring words"]
    kept = len(calls)
    (memory,) = cache_dir("probe").iterdir()
    memory.write_text("{")
    assert probed(tiny, ["zwx"], bank) == first
    assert len(calls) - kept > kept + 5


def test_another_class_and_another_model_have_a_memory_of_their_own(tiny, make_tiny, fresh):
    for shifts in (make_shifts(tiny), make_shifts(tiny, class_word="robot"), make_shifts(make_tiny(seed=3))):
        with shifts.remembering():
            shifts.of("zwx")
    assert len(list(cache_dir("probe").iterdir())) == 3


def test_a_base_that_heeds_no_words_is_not_called_free(make_tiny, bank, fresh):
    deaf = make_tiny()
    for name, parameter in deaf.unet.named_parameters():
        if "attn2.to_v" in name:
            parameter.data.zero_()
    found = probed(deaf, ["zwx"], bank)
    assert (found.heeded, found.pairs) == (0, 4)
    assert found.readings[0].verdict == "unclear"
    assert "no further by known words" in found.readings[0].why
    assert not found.taken and not found.better


def test_words_may_be_probed_alone(tiny, bank, fresh):
    found = probed(tiny, ["zwx"], bank, QUICK.model_copy(update={"class_word": ""}))
    assert found.readings[0].shift > 0
    assert found.readings[0].of_class is None


# --- the scale --------------------------------------------------------------------------------------------------------


def test_the_scale_goes_from_rare_words_to_known_ones():
    scale = Scale([0.001, 0.002, 0.004], [0.02, 0.2, 2.0])
    assert [scale.reach(s) for s in (0.002, 0.02, 0.2)] == pytest.approx([0, 0.5, 1])
    assert scale.share(0.02) == pytest.approx(0.1)
    assert [scale.p(s) for s in (0.0, 0.002, 0.003, 9)] == [1, 0.75, 0.5, 0.25]
    assert scale.reach(0.0) < 0
    assert math.isnan(Scale([0.2], [0.2]).reach(0.2))


@pytest.mark.parametrize(
    ("reach", "more", "verdict"),
    [
        (WEAK_FROM - 0.01, {}, "free"),
        (WEAK_FROM, {}, "weak"),
        (WEAK_FROM, {"collides": [Kin("rifle", 0.6)]}, "collides"),
        (KNOWN_FROM, {}, "known"),
        (KNOWN_FROM, {"collides": [Kin("rifle", 0.6)]}, "collides"),
        (0.0, {"taught": True}, "known"),
        (2.0, {"heeds": False}, "unclear"),
        (math.nan, {}, "unclear"),
        (0.0, {"taught": True, "heeds": False}, "known"),
    ],
)
def test_the_verdict(reach, more, verdict):
    assert judge(reach, **{"taught": False, "heeds": True, **more}) == verdict


# --- what words are held against --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
def test_rare_words_have_as_many_pieces_and_are_nobodys(tiny, pieces):
    bank = bank_of("crumb")

    def count(word):
        return tiny.token_count([word])[0]

    controls = Controls(bank, count, tiny.single_token_words(), 12, 8)
    rare = controls.rare(pieces)
    assert len(set(rare)) == 12
    assert {count(w) for w in rare} == {pieces}
    assert not set(rare) & bank.parts
    fewer = Controls(bank, count, tiny.single_token_words(), 5, 8)
    assert fewer.rare(pieces) == rare[:5]
    without = controls.rare(pieces, but=rare[3])
    assert rare[3] not in without
    assert len(without) == 12
    assert [w for w in rare if w != rare[3]] == without[:11]
    for known, partner in controls.pairs():
        assert count(known) == count(partner)


def test_known_words_leave_out_the_one_that_is_asked_about(tiny):
    controls = Controls(bank_of("crumb"), lambda w: tiny.token_count([w])[0], tiny.single_token_words(), 5, 6)
    known = controls.known()
    assert len(controls.known(but=known[0].upper())) == 6
    assert controls.known(but=known[0])[:5] == known[1:]


def test_banks():
    crumb = bank_of("crumb")
    assert crumb.knows("red hair") and crumb.knows("Person") and not crumb.knows("zwx")
    plain = bank_of("some/model")
    assert len(plain.words) > 250
    assert plain.taught is None
    assert not plain.knows("dog")
    assert bank_of("some/model", "crumb").knows("beanie")
    with pytest.raises(UsageError, match="nowhere"):
        bank_of("crumb", "nowhere.csv")


def test_a_bank_of_a_list_begins_with_what_is_frequent(tmp_path):
    rows = ["tag_id,name,category,count", "1,rare_thing,0,3", "2,1girl,0,900", "3,long_hair,0,400", "4,tree,0,9"]
    (tmp_path / "selected_tags.csv").write_text("\n".join([*rows, "5,sky,0,8"]), "utf-8")
    bank = bank_of("x", str(tmp_path / "selected_tags.csv"))
    assert bank.words == ("1girl", "long hair", "tree", "sky", "rare thing")
    assert "long" in bank.parts
    (tmp_path / "selected_tags.csv").write_text("\n".join(rows), "utf-8")
    with pytest.raises(UsageError, match="holds 4 tags"):
        bank_of("x", str(tmp_path / "selected_tags.csv"))


def test_neighbours_are_others(tiny):
    bank = bank_of("crumb")
    near = Neighbours(tiny, bank, class_word="person").near("Beanie", 5)
    assert len(near) == 5
    assert "beanie" not in [k.word for k in near]
    cosines = [k.cosine for k in near]
    assert cosines == sorted(cosines, reverse=True)
    assert all(-1 <= c <= 1 + 1e-9 for c in cosines)


def test_words_that_cannot_be_triggers_are_named_together(tiny, bank):
    with pytest.raises(Problems) as e:
        probed(tiny, ["zwx, person", "", "a b c d e f g h i", "zwx"], bank)
    assert len(e.value.problems) == 3
    assert "comma" in str(e.value) and "allowed are 1 to 8" in str(e.value)
    with pytest.raises(Problems, match="no word"):
        probed(tiny, [], bank)
    with pytest.raises(Problems, match="the class"):
        probed(tiny, ["zwx"], bank, QUICK.model_copy(update={"class_word": "person " * 70}))
    assert len(probed(tiny, ["zwx", " zwx "], bank).readings) == 1


def test_an_adapter_is_no_base(tiny, tiny_folder, tmp_path):
    adapter = inject(LoRA(rank=2), tiny.trainable_modules())
    path = save_adapter(
        adapter, tmp_path / "a.safetensors", metadata_for(LoRA(rank=2), name="a", base_model=str(tiny_folder))
    )
    adapter.remove()
    with pytest.raises(UsageError, match="adapter on it"):
        bare_base(str(path))


# --- crumb ------------------------------------------------------------------------------------------------------------

RARE = ("zwx", "sks", "qvk")
KNOWN = ("red hair", "glasses", "beach")


@pytest.fixture(scope="module")
def of_crumb(tmp_path_factory):
    """Crumb, asked without being told what it was taught: the figures alone have to say it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAKEHOUSE_CACHE", str(tmp_path_factory.mktemp("crumb")))
        untold = dataclasses.replace(bank_of("crumb"), taught=None)
        yield probed(load_model("crumb"), [*RARE, *KNOWN], untold, ProbeSpec(noises=1, rare=5, known=6))


def test_crumb_is_moved_by_its_own_words_alone(of_crumb):
    verdicts = {r.word: r.verdict for r in of_crumb.readings}
    assert {verdicts[w] for w in RARE} == {"free"}, verdicts
    assert {verdicts[w] for w in KNOWN} <= {"known", "collides"}, verdicts
    assert of_crumb.heeded >= 5
    reaches = {r.word: r.reach for r in of_crumb.readings}
    assert max(reaches[w] for w in RARE) < 0.3 < 0.6 < min(reaches[w] for w in KNOWN)


def test_better_words_are_short_free_and_not_the_ones_asked_about(of_crumb):
    assert 1 <= len(of_crumb.better) <= 3
    assert not set(of_crumb.better) & {*RARE, *KNOWN}
    assert all(3 <= len(w) <= 5 and w.isalpha() for w in of_crumb.better)


def test_json_holds_every_figure(of_crumb):
    told = of_crumb.to_json()
    assert [r["word"] for r in told["readings"]] == [*RARE, *KNOWN]
    assert {"shift", "share", "reach", "p", "neighbours", "collides", "of_class", "helps"} <= set(told["readings"][0])
    assert told["better"] == of_crumb.better


def test_looks_are_drawn_and_compared(make_tiny, bank, fresh, tmp_path):
    model = make_tiny()
    found = probed(model, ["zwx"], bank)
    with Pipeline(model, ModelSource("tiny")) as pipeline:
        looks = draw_looks(pipeline, found, tmp_path / "sheet.png", seeds=2)
        with pytest.raises(UsageError, match="no name of a sheet"):
            draw_looks(pipeline, found, tmp_path / "sheet.txt")
        with pytest.raises(UsageError, match="at least 2"):
            draw_looks(pipeline, found, tmp_path / "sheet.png", seeds=1)
    assert [look.word for look in looks] == ["zwx"]
    assert looks[0].spread > 0 and looks[0].change > 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 128 and sheet.height > 192
        assert found.readings[0].why in sheet.text["bakehouse-probe"]
