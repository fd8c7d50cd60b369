"""Embeddings: one step is the mathematics of textual inversion, nothing else changes, and files are read by others."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from bakehouse.adapters import load_adapter, read_adapter
from bakehouse.adapters.embedding import split_bundled
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Sampled, Saved, result_of
from bakehouse.models.load import load_model
from bakehouse.models.textual_inversion import read_textual_inversion
from bakehouse.recipe import make_plan, recipe_for_folder, recipe_to_toml
from bakehouse.training import train
from bakehouse.training.loop import run_loop, seed_batch
from bakehouse.training.prepare import build_components
from tests.models.conftest import build_family

from .test_resume import DRIVER

LR = 5e-3


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Tiny models of every family as folders."""
    folders = {}
    for family in ("sd1", "sd2", "sdxl"):
        folders[family] = tmp_path_factory.mktemp("bases") / family
        build_family(family).save(folders[family], dtype=torch.float32)
    return folders


@pytest.fixture
def embedding(photos, bases):
    """A quick recipe of an embedding; keywords are dotted keys with `__` for the dot."""

    def make(family="sd1", **settings):
        quick = {
            "concepts.0.repeats": 1,
            "buckets.resolution": 64,
            "buckets.step": 16,
            "train.batch": 2,
            "train.epochs": 1,
            "sample.prompts": [],
            "embedding.vectors": 3,
            "embedding.lr": LR,
            "schedule.kind": "constant",
            "train.max_grad_norm": 0.0,
        }
        changes = {key.replace("__", "."): value for key, value in settings.items()}
        values = {k: v for k, v in {**quick, **changes}.items() if v is not None}
        return recipe_for_folder(photos, "zwx person", kind="embedding", base=str(bases[family]), settings=values)

    return make


PIVOTAL = {"adapter.kind": "lora", "adapter.rank": 2, "prior.source": "none", "optimizer.lr": 1e-3}


def built(recipe):
    return result_of(build_components(make_plan(recipe), load_model(recipe.model.base)))


def snapshot(model):
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def with_rows(model, part, rows):
    """A text encoder's table as diffusers' script extends it: the base's rows, and the new ones after them."""
    table = getattr(model, part).get_input_embeddings()
    return torch.cat([table.weight.detach(), rows]).requires_grad_()


def ids_by_hand(tokenizer, caption, new_ids, length=77):
    """The caption's token ids with those of `zwx` replaced by the new ones, as `maybe_convert_prompt` does."""
    before, _, after = caption.partition("zwx")
    own = [tokenizer(text, add_special_tokens=False).input_ids for text in (before, after)]
    ids = [tokenizer.bos_token_id, *own[0], *new_ids, *own[1], tokenizer.eos_token_id][:length]
    return torch.tensor(ids + [tokenizer.pad_token_id] * (length - len(ids)))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_one_step_is_the_mathematics_of_diffusers_script(embedding, family):
    """The loss, the gradient of the new rows and AdamW's step, written out with plain torch."""
    recipe = embedding(family, train__steps=1)
    components, state = built(recipe)
    objective = components.objective
    before = {part: p.detach().clone() for part, p in state.adapter.vectors["zwx"].items()}
    reference = load_model(recipe.model.base)
    generator = seed_batch(recipe.seed, 0, 0)
    batch = objective.batch(0, 0, generator)
    step, slots = 0, objective.batches.slots(0)[0]
    captions = [objective.batches._sample(slot, step, 0, at)[0] for at, slot in enumerate(slots)]
    assert all(c.startswith("zwx person, place") for c in captions)

    # diffusers' textual_inversion.py: the table has the new rows at its end, and the whole table has a gradient.
    tables, hidden, pooled = {}, [], None
    for part, rows in before.items():
        encoder, tokenizer = getattr(reference, part), getattr(reference, part.replace("text_encoder", "tokenizer"))
        table = with_rows(reference, part, rows)
        first = len(table) - len(rows)
        ids = torch.stack([ids_by_hand(tokenizer, c, range(first, len(table))) for c in captions])
        encoder.get_input_embeddings().forward = lambda x, table=table: F.embedding(x, table)
        out = encoder(ids, output_hidden_states=True)
        hidden.append(out.hidden_states[-2] if family == "sdxl" else out.last_hidden_state)
        pooled = getattr(out, "text_embeds", pooled)
        tables[part] = table
    t = recipe.noise.draw_timesteps(reference.schedule, len(captions), generator)
    eps = torch.randn(batch.latents.shape, generator=generator)
    x_t = reference.schedule.add_noise(batch.latents, eps, t)
    more = {"text_embeds": pooled, "time_ids": batch.cond.sizes} if family == "sdxl" else None
    pred = reference.unet(x_t, t, encoder_hidden_states=torch.cat(hidden, dim=-1), added_cond_kwargs=more).sample
    loss = F.mse_loss(pred, eps, reduction="mean")
    loss.backward()

    (done,) = [e for e in run_loop(components, state) if hasattr(e, "subject_loss")]
    assert done.loss == pytest.approx(float(loss.detach()), abs=1e-6)
    for part, rows in before.items():
        gradient = tables[part].grad[-len(rows) :]
        # AdamW's first step without decay: both averages are the gradient itself after their correction.
        expected = rows - LR * gradient / (gradient.abs() + 1e-8)
        trained = state.adapter.vectors["zwx"][part].detach()
        clear = gradient.abs() > 1e-6  # below, a rounding of the gradient decides the sign of the step
        assert clear.float().mean() > 0.9
        torch.testing.assert_close(trained[clear], expected[clear], atol=1e-6, rtol=0)


def test_the_gradient_is_that_of_the_new_rows(embedding):
    """Compared before the optimizer, which only sees signs in its first step."""
    recipe = embedding(train__steps=1)
    components, state = built(recipe)
    batch = components.objective.batch(0, 0, seed_batch(recipe.seed, 0, 0))
    components.objective.loss(
        components.model, state.adapter, batch, torch.Generator().manual_seed(1)
    ).mean().backward()
    (vectors,) = state.parameters()
    assert vectors.grad is not None and bool((vectors.grad != 0).any(dim=-1).all())
    assert all(p.grad is None and not p.requires_grad for p in components.model.parameters())


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_weight_of_the_base_stays_bit_for_bit(embedding, family):
    components, state = built(embedding(family, optimizer__args={"weight_decay": 0.5}))
    before = snapshot(components.model)
    start = [p.detach().clone() for p in state.parameters()]
    list(run_loop(components, state))
    assert all(torch.equal(t, before[name]) for name, t in components.model.state_dict().items())
    assert all(not torch.equal(p, s) for p, s in zip(state.parameters(), start, strict=True))
    assert state.optimizer.param_groups[0]["weight_decay"] == 0.0


def test_the_start_is_the_initial_words(embedding):
    """With as many vectors as its initial words have tokens, the word means exactly these words."""
    components, state = built(embedding(embedding__vectors=2, embedding__init="big smile"))
    model = components.model
    for chunks in (1, 2):
        got = model.encode_prompt(["zwx person", "a zwx, at night"], chunks=chunks)
        with state.adapter.scaled(0):
            expected = model.encode_prompt(["big smile person", "a big smile, at night"], chunks=chunks)
        assert torch.equal(got.hidden, expected.hidden)


@pytest.mark.parametrize(("count", "rows"), [(1, "b"), (2, "bs"), (3, "bsb"), (5, "bsbsb")])
def test_initial_words_are_cut_or_repeated(embedding, count, rows):
    components, state = built(embedding(embedding__vectors=count, embedding__init="big smile"))
    b, s = (components.model.words.vectors_of(word)["text_encoder"] for word in ("big", "smile"))
    assert torch.equal(state.adapter.vectors["zwx"]["text_encoder"], torch.cat([{"b": b, "s": s}[r] for r in rows]))


def test_captions_have_as_many_tokens_as_the_word_has_vectors(embedding):
    components, state = built(embedding(embedding__vectors=5))
    model = components.model
    with state.adapter.scaled(0):
        plain = model.token_count(["zwx person", "person"])
    assert model.token_count(["zwx person", "person"]) == [5 + plain[1], plain[1]]
    assert model.encode_prompt(["zwx " + "a " * 200]).hidden.shape[1] == 77


def test_vectors_are_not_split_at_a_captions_end(embedding):
    components, state = built(embedding(embedding__vectors=4, embedding__init="big smile person hair"))
    model = components.model
    whole, cut = "a " * 71 + "zwx b", "a " * 73 + "zwx b"
    with state.adapter.scaled(0):
        as_words = model.encode_prompt(["a " * 71 + "big smile person hair"]).hidden
        without = model.encode_prompt(["a " * 73]).hidden
    assert torch.equal(model.encode_prompt([whole]).hidden, as_words), "what follows is cut"
    assert torch.equal(model.encode_prompt([cut]).hidden, without), "a part of a word would mean something else"
    longer = model.encode_prompt([cut], chunks=2).hidden
    torch.testing.assert_close(longer[:, :77], without)
    with state.adapter.scaled(0):
        rest = model.encode_prompt(["big smile person hair b"]).hidden
    torch.testing.assert_close(longer[:, 77:], rest, msg="it begins the next chunk")


def test_strengths_between_off_and_on_are_refused(embedding):
    _, state = built(embedding())
    with (
        pytest.raises(UsageError, match=r"an embedding has no strength, and 0.6 was asked for"),
        state.adapter.scaled(0.6),
    ):
        pass


def test_the_norm_is_kept_where_it_is_asked_for(embedding):
    for keep in (False, True):
        components, state = built(embedding(embedding__keep_norm=keep))
        (vectors,) = state.parameters()
        before = vectors.detach().norm(dim=-1)
        list(run_loop(components, state))
        assert torch.allclose(vectors.norm(dim=-1), before, atol=1e-6) is keep


def test_the_seed_decides_the_vectors(embedding):
    def trained(seed):
        components, state = built(embedding(seed=seed))
        list(run_loop(components, state))
        return state.parameters()[0].detach()

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


@pytest.mark.parametrize("optimizer", ["adamw", "prodigy"])
def test_vectors_stop_after_their_share_and_the_adapter_goes_on(embedding, optimizer):
    rates = {"optimizer__name": optimizer, "optimizer__lr": None, "embedding__lr": None} if optimizer != "adamw" else {}
    settings = {**{k.replace(".", "__"): v for k, v in PIVOTAL.items()}, **rates}
    components, state = built(embedding(**settings, train__epochs=2, train__batch=1, embedding__until=0.5))
    steps, seen = components.plan.steps, []
    for _ in run_loop(components, state):
        seen.append([p.detach().clone() for p in state.parameters()])
    assert len(seen) == steps == 12
    (place,) = [i for i, (name, _) in enumerate(state.adapter.named_parameters()) if name.startswith("bundle_emb.")]
    moved = [not torch.equal(a[place], b[place]) for a, b in itertools.pairwise(seen)]
    assert moved == [k + 1 < steps // 2 for k in range(steps - 1)]
    layer = next(i for i, (name, _) in enumerate(state.adapter.named_parameters()) if "lora_up" in name)
    assert not torch.equal(seen[steps // 2][layer], seen[-1][layer])


def test_groups_have_their_own_rates(embedding):
    settings = {k.replace(".", "__"): v for k, v in PIVOTAL.items()}
    _, state = built(embedding(**settings, adapter__text=True, optimizer__text_lr=2e-4))
    rates = {g["name"]: (g["lr"], g["weight_decay"]) for g in state.optimizer.param_groups}
    assert rates == {"unet": (1e-3, 0.01), "text": (2e-4, 0.01), "embedding": (LR, 0.0)}


def test_killed_runs_end_with_the_same_bits(embedding, tmp_path):
    """With an adapter beside it: what an embedding alone saves and restores is a part of it."""
    more = {k.replace(".", "__"): v for k, v in PIVOTAL.items()} | {"embedding__until": 0.5, "train__ema": 0.9}
    made = embedding(**more, train__epochs=5, save__state_every_seconds=0.001)
    path = tmp_path / "me.toml"
    path.write_text(recipe_to_toml(made))
    words = [str(path), str(tmp_path / "run"), str(tmp_path / "cache"), "[-1, 2, 5]", "1"]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["killed"] == result["whole"] and len(result["whole"]) == 5


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_run_saves_epochs_samples_and_its_recipe(embedding, tmp_path, family):
    recipe = embedding(family, train__epochs=2, sample__prompts=["zwx person"], sample__steps=1)
    events = list(train(recipe, tmp_path / "run"))
    saved = [e.path for e in events if isinstance(e, Saved)]
    assert saved == ["weights/zwx-000001.safetensors", "weights/zwx.safetensors"]
    assert len([e for e in events if isinstance(e, Sampled)]) == 3
    path = tmp_path / "run" / saved[-1]
    names = {"sd1": {"emb_params"}, "sdxl": {"clip_l", "clip_g"}}[family]
    assert load_file(path).keys() == names
    with safe_open(path, "pt") as f:
        header = f.metadata()
    assert json.loads(header["bakehouse.embedding"]) == {"zwx": {"vectors": 3, "init": "person"}}
    assert header["ss_steps"] == str(make_plan(recipe).steps)
    assert header["ss_new_sd_model_hash"] == load_model(recipe.model.base).fingerprint
    assert header["modelspec.architecture"].endswith("/textual-inversion")
    assert re.search(r'kind = "embedding"', header["bakehouse.recipe"])
    assert header["sshs_model_hash"] and header["modelspec.trigger_phrase"] == "zwx person"
    assert len(read_textual_inversion(path)) == 3


def test_a_pivotal_file_has_both_parts(embedding, tmp_path):
    recipe = embedding(**{k.replace(".", "__"): v for k, v in PIVOTAL.items()}, save__dtype="fp32")
    list(train(recipe, tmp_path / "run"))
    path = tmp_path / "run" / "weights" / "zwx-person.safetensors"
    file = read_adapter(path)
    assert file.kind == "LoRA" and [*file.extras] == ["bundle_emb.zwx.string_to_param.*"]
    words = split_bundled(file.extras)
    assert {part: t.shape for part, t in words["zwx"].items()} == {"": (3, 32)}
    load_adapter(path, load_model(recipe.model.base).trainable_modules()).remove()


REFUSED = {
    "17 vectors": ({"embedding__vectors": 17}, r"embedding.vectors = 17: should be less than or equal to 16"),
    "no vector": ({"embedding__vectors": 0}, r"embedding.vectors = 0: should be greater than or equal to 1"),
    "no initial words": ({"embedding__init": " "}, r"embedding.init is empty"),
    "no class word": (
        {"concepts__0__subject": "zwx"},
        r"embedding.init is not set, and the subject 'zwx' has no class",
    ),
    "a known word": (
        {"concepts__0__trigger": "smile", "captions__prefix": "smile"},
        r"trigger 'smile' is a word that the base knows",
    ),
    "its own initial word": ({"embedding__init": "zwx hair"}, r"trigger 'zwx' is one of its own initial words"),
    "no trigger": ({"concepts__0__trigger": ""}, r"needs a trigger word"),
    "no caption": ({"captions__prefix": "", "concepts__0__trigger": "qvk"}, r"no caption has the trigger 'qvk'"),
    "cut captions": (
        {"captions__prefix": "a " * 80},
        r"comes after the 75 tokens of model.max_tokens in every caption",
    ),
    "a network's rate": ({"optimizer__lr": 1e-4}, r"no network trains: set embedding.lr"),
    "a stop alone": ({"embedding__until": 0.5}, r"nothing would train after it"),
    "a whole model": ({"adapter__kind": "full"}, r"has no place for the vectors"),
    "rates": (
        {"adapter__kind": "lora", "optimizer__name": "prodigy", "embedding__lr": 1e-3},
        r"embedding.lr = 0.001 differs from optimizer.lr = 1",
    ),
    "a dot": (
        {"adapter__kind": "lora", "concepts__0__trigger": "v.1", "captions__prefix": "v.1"},
        r"cannot have '.' or '/'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_refused_with_one_message(embedding, case):
    settings, said = REFUSED[case]
    with pytest.raises(Problems) as e:
        make_plan(embedding(**settings))
    assert len(e.value.problems) == 1, e.value.problems
    assert re.search(said, e.value.problems[0]), e.value.problems


def test_a_file_of_one_word_cannot_hold_two(embedding):
    made = embedding()
    two = [made.concepts[0], made.concepts[0].model_copy(update={"subject": "qvk person", "trigger": None})]
    with pytest.raises(Problems, match=r"trains one word, and this recipe has zwx, qvk"):
        make_plan(made.model_copy(update={"concepts": tuple(two)}))


def test_what_is_probably_not_meant_is_warned_of(embedding):
    warned = "\n".join(make_plan(embedding(embedding__vectors=1, embedding__init="qvkxj smile")).warnings)
    assert re.search(r"qvkxj is no single token of the base; training starts from \w+ \+ .*smile", warned), warned
    assert re.search(r"'qvkxj smile' has \d tokens for 1 vector: .*smile is left out", warned), warned
    long = make_plan(embedding(captions__suffix="a " * 70)).warnings
    assert any("longer than model.max_tokens = 75" in w for w in long)
