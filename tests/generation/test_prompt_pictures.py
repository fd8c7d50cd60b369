"""Prompts in pictures: what guides each step, adapters and textual inversions by name, and what is warned of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bakehouse.adapters import LoRA, inject, metadata_for, save_adapter
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Warned
from bakehouse.core.run_folder import Run
from bakehouse.data.weighted_prompt import PromptText, WeightedText
from bakehouse.generation import GeneratedImage, ImageRequest, ModelSource, Pipeline, make_grid
from bakehouse.generation.prompt_files import PromptFiles
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.prompt_guiders import PromptCache
from bakehouse.models.text_to_image import ImageSpec, generate_images


def pixels(images: Iterable[GeneratedImage]) -> list[bytes]:
    return [one.image.tobytes() for one in images]


def difference(a: bytes, b: bytes) -> int:
    """The largest difference of any value, in levels of 255."""
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def warnings_of(pipeline: Pipeline, request: ImageRequest) -> list[str]:
    heard: list[Event] = []
    list(pipeline.txt2img(request, on_event=heard.append))
    return [event.message for event in heard if isinstance(event, Warned)]


@pytest.fixture
def calls(crumb: Denoiser, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The encoded prompts of each call of the network."""
    seen: list[Tensor] = []
    forward = type(crumb).forward

    def spy(self: Denoiser, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        seen.append(cond.hidden)
        return forward(self, x_t, t, cond)

    monkeypatch.setattr(type(crumb), "forward", spy)
    return seen


def test_a_plain_prompt_has_the_bits_that_it_has_without_the_language(pipeline: Pipeline, asked: ImageRequest) -> None:
    request = replace(asked, negative="blurry", guidance=3.0)
    spec = ImageSpec(
        prompt=request.prompt, negative="blurry", width=64, height=64, seed=5, steps=2, guidance=3.0, sampler="DPM++ 2M"
    )
    (expected,) = generate_images(pipeline.denoiser, [spec])
    assert pixels(pipeline.txt2img(request)) == [expected.tobytes()]
    assert pixels(pipeline.txt2img(replace(request, prompt_syntax="plain"))) == [expected.tobytes()]


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Heun", "PNDM"])
def test_each_step_is_guided_by_the_prompt_of_that_step(
    pipeline: Pipeline, asked: ImageRequest, calls: list[Tensor], sampler: str
) -> None:
    """Bit for bit, with samplers that call the network once or twice a step."""
    request = replace(
        asked, prompt="a [red:blue:2] (hat:1.2) [cat|robot]", negative="[x:y:3]", steps=4, sampler=sampler
    )
    list(pipeline.txt2img(request))
    switched = list(calls)
    steps = ["a red (hat:1.2) cat", "a red (hat:1.2) robot", "a blue (hat:1.2) cat", "a blue (hat:1.2) robot"]
    expected = []
    for step, prompt in enumerate(steps, 1):
        calls.clear()
        list(pipeline.txt2img(replace(request, prompt=prompt, negative="x" if step <= 3 else "y")))
        assert all(torch.equal(calls[0], one) for one in calls), "a plain prompt guides all steps alike"
        expected.append(calls[0])
    of_step = [next(i for i, one in enumerate(expected) if torch.equal(one, call)) for call in switched]
    assert of_step == sorted(of_step) and set(of_step) == {0, 1, 2, 3}
    if sampler == "DPM++ 2M":
        assert of_step == [0, 1, 2, 3]


def test_a_switch_of_length_changes_the_chunks_of_its_steps_alone(
    pipeline: Pipeline, asked: ImageRequest, calls: list[Tensor]
) -> None:
    long = "red hat " * 50
    list(pipeline.txt2img(replace(asked, prompt=f"a [{long}:hat:1]", steps=2)))
    assert [call.shape[1] for call in calls] == [154, 77]


def test_and_is_the_weighted_sum(pipeline: Pipeline, asked: ImageRequest, calls: list[Tensor]) -> None:
    """One level is what summing in another order can cost."""

    def made(prompt: str, guidance: float) -> bytes:
        return pixels(pipeline.txt2img(replace(asked, prompt=prompt, guidance=guidance, steps=1)))[0]

    composed = made("a hat AND a robot :0", 3.0)
    assert calls[0].shape[0] == 3, "one row for the negative prompt and one for each prompt"
    assert difference(composed, made("a hat", 3.0)) <= 1
    assert difference(made("a hat :2", 2.0), made("a hat", 4.0)) <= 1
    assert difference(made("a hat AND a robot", 3.0), composed) > 1


def test_at_guidance_one_and_still_composes(pipeline: Pipeline, asked: ImageRequest, calls: list[Tensor]) -> None:
    list(pipeline.generate([replace(asked, prompt=p, guidance=1.0, steps=1) for p in ("a hat AND b :0.5", "a hat")]))
    assert [len(call) for call in calls] == [3, 1]


def test_prompts_of_all_kinds_share_a_batch_and_come_out_as_alone(pipeline: Pipeline, asked: ImageRequest) -> None:
    prompts = ["a hat", "a [hat|robot]", "a hat AND robot :0.5", "[a:b:1] (c:1.3)"]
    requests = [replace(asked, prompt=prompt, steps=2) for prompt in prompts]
    together = [one.image for one in pipeline.generate(requests, batch=4)]
    for request, image in zip(requests, together, strict=True):
        assert difference(image.tobytes(), pixels(pipeline.txt2img(request))[0]) <= 1


@pytest.mark.parametrize(
    "prompt", ["", " ", "(", "]) [::", "a <lora:>", "\\", "BREAK", "AND", "a " * 5000, "((((a" * 20]
)
def test_every_prompt_makes_a_picture(pipeline: Pipeline, asked: ImageRequest, prompt: str) -> None:
    (made,) = pipeline.txt2img(replace(asked, prompt=prompt, negative=prompt, steps=1))
    assert made.infotext.prompt.strip() == prompt.strip()


def test_emphasis_changes_the_picture_and_is_written_down(pipeline: Pipeline, asked: ImageRequest) -> None:
    request = replace(asked, prompt="a (red:1.5) hat")
    made = {mode: next(pipeline.txt2img(replace(request, emphasis=mode))) for mode in ("original", "no-norm", "ignore")}
    assert len({one.image.tobytes() for one in made.values()}) == 3
    assert [one.infotext.get("Emphasis") for one in made.values()] == ["", "No norm", "Ignore"]
    assert made["original"].infotext.prompt == request.prompt


# Adapters and textual inversions by name


@pytest.fixture(scope="session")
def folder(crumb: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `qqq`, a LoRA of both networks."""
    made = tmp_path_factory.mktemp("loras")
    spec = LoRA(rank=4, alpha=6, text=True)
    adapter = inject(spec, crumb.trainable_modules())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    save_adapter(adapter, made / "qqq.safetensors", metadata_for(spec, name="qqq", base_model="crumb"))
    adapter.remove()
    return made


@pytest.fixture
def naming(crumb: Denoiser, folder: Path) -> Iterable[Pipeline]:
    with Pipeline(crumb, ModelSource("crumb", title="crumb"), files=PromptFiles(loras=folder)) as opened:
        yield opened


def test_a_tag_is_the_adapter(naming: Pipeline, asked: ImageRequest, folder: Path) -> None:
    base = pixels(naming.txt2img(asked))
    tagged = list(naming.txt2img(replace(asked, prompt=f"{asked.prompt}<lora:qqq:0.6>")))
    with Pipeline.open("crumb", adapters=[(folder / "qqq.safetensors", 0.6)]) as expected:
        assert pixels(tagged) == pixels(expected.txt2img(asked)) != base
    assert tagged[0].infotext.prompt == f"{asked.prompt}<lora:qqq:0.6>"
    assert tagged[0].infotext.get("Lora hashes").startswith("qqq: ")
    assert pixels(naming.txt2img(asked)) == base, "it is on the model for its own picture alone"


def test_a_tag_has_a_strength_for_each_network(naming: Pipeline, asked: ImageRequest, calls: list[Tensor]) -> None:
    def made(tag: str) -> tuple[bytes, Tensor]:
        calls.clear()
        (one,) = pixels(naming.txt2img(replace(asked, prompt=f"{asked.prompt}{tag}")))
        return one, calls[0]

    base, prompt = made("")
    both, both_prompt = made("<lora:qqq:0.5>")
    unet, unet_prompt = made("<lora:qqq:0:0.5>")
    named, named_prompt = made("<lora:qqq:unet=0.5:te=0>")
    text, text_prompt = made("<lora:qqq:0.5:0>")
    assert torch.equal(unet_prompt, prompt) and torch.equal(named_prompt, prompt)
    assert torch.equal(text_prompt, both_prompt) and not torch.equal(text_prompt, prompt)
    assert unet == named and len({base, both, unet, text}) == 4
    assert made("<lora:qqq:0:0>")[0] == base


def test_dyn_leaves_out_ranks(naming: Pipeline, asked: ImageRequest) -> None:
    def made(tag: str) -> bytes:
        return pixels(naming.txt2img(replace(asked, prompt=asked.prompt + tag)))[0]

    assert made("<lora:qqq:1:1:4>") == made("<lora:qqq:1>") != made("<lora:qqq:1:1:2>")


def test_a_tag_for_the_models_own_adapter_sets_its_strength(
    lora: Path, asked: ImageRequest, trained: Run, calls: list[Tensor]
) -> None:
    with Pipeline.open(lora) as pipeline:
        with pipeline.adapter_strengths(0.3):
            expected = pixels(pipeline.txt2img(asked))
        made = list(pipeline.txt2img(replace(asked, prompt=f"{asked.prompt} <lora:zwx:0.3>")))
        assert pixels(made) == expected
        assert made[0].infotext.prompt == f"{asked.prompt} <lora:zwx:0.3>", "as written, and named once"
        cut = [
            pixels(pipeline.txt2img(replace(asked, prompt=f"{asked.prompt} <lora:zwx:{w}>")))[0] for w in ("1:1:4", 1)
        ]
        assert cut[0] == cut[1], "with all its ranks it is the same, and counts once"
        recalled = made[0].infotext.prompt
        assert pixels(pipeline.txt2img(replace(asked, prompt=recalled))) == expected
    with Pipeline.open(trained.folder) as pipeline:
        first = pixels(pipeline.txt2img(replace(asked, prompt=f"{asked.prompt} <lora:zwx:0> <lora:zwx-000001:1>")))
    with Pipeline.open(trained.weights / "zwx-000001.safetensors") as pipeline:
        assert first == pixels(pipeline.txt2img(asked))


def test_pictures_with_other_adapters_are_made_in_order(naming: Pipeline, asked: ImageRequest) -> None:
    prompts = [f"{asked.prompt}{tag}" for tag in ("", "<lora:qqq:1>", "<lora:qqq:0.5>", "")]
    requests = [replace(asked, prompt=prompt) for prompt in prompts]
    together = list(naming.generate(requests))
    assert [one.request.prompt for one in together] == prompts
    assert pixels(together) == [pixels(naming.txt2img(request))[0] for request in requests]


def test_an_unknown_adapter_is_named_with_the_nearest(naming: Pipeline, asked: ImageRequest) -> None:
    (said,) = warnings_of(naming, replace(asked, prompt="a <lora:qqqq:1>"))
    assert "<lora:qqqq> is not used" in said and "did you mean <lora:qqq>?" in said
    assert pixels(naming.txt2img(replace(asked, prompt="a <lora:qqqq:1>"))) == pixels(
        naming.txt2img(replace(asked, prompt="a"))
    )


def test_a_file_that_is_no_adapter_is_refused(crumb: Denoiser, asked: ImageRequest, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with (
        Pipeline(crumb, ModelSource("crumb"), files=PromptFiles(loras=tmp_path)) as pipeline,
        pytest.raises(BakehouseError, match=r"bad\.safetensors"),
    ):
        pipeline.txt2img(replace(asked, prompt="<lora:bad>"))
    with pytest.raises(UsageError, match=r"--loras .*: there is no such folder"):
        Pipeline.open("crumb", loras=tmp_path / "no")


def test_an_adapter_is_found_by_the_name_in_its_header(
    crumb: Denoiser, asked: ImageRequest, lora: Path, tmp_path: Path
) -> None:
    (tmp_path / "renamed.safetensors").write_bytes(lora.read_bytes())
    files = PromptFiles(loras=tmp_path)
    assert files.find_adapter("zwx", ModelSource("crumb")) == tmp_path / "renamed.safetensors"
    assert files.find_adapter("renamed", ModelSource("crumb")) == tmp_path / "renamed.safetensors"
    assert files.find_adapter("other", ModelSource("crumb")) is None


@pytest.fixture
def embeddings(crumb: Denoiser, tmp_path: Path) -> Path:
    """`mywords` holds the word vectors of `green hoodie`."""
    ids = crumb.tokenizers["tokenizer"]("green hoodie", add_special_tokens=False).input_ids
    table = crumb.text_encoders["text_encoder"].get_input_embeddings().weight  # type: ignore[attr-defined]
    torch.save({"<x>": table[ids].detach().clone()}, tmp_path / "MyWords.pt")
    (tmp_path / "concept").mkdir()
    torch.save({"<y>": torch.ones(1, 5)}, tmp_path / "concept" / "learned_embeds.bin")
    return tmp_path


def test_a_textual_inversion_is_used_by_the_name_of_its_file(
    crumb: Denoiser, asked: ImageRequest, embeddings: Path
) -> None:
    with Pipeline(crumb, ModelSource("crumb"), files=PromptFiles(embeddings=embeddings)) as pipeline:
        (made,) = pipeline.txt2img(replace(asked, prompt="a (mywords:1.2) at night", negative="MYWORDS"))
        assert made.infotext.get("TI hashes").startswith("MyWords: ")
        words = replace(asked, prompt="a (green hoodie:1.2) at night", negative="green hoodie")
        assert [made.image.tobytes()] == pixels(pipeline.txt2img(words))
        assert "embedding 'concept' is not used: its vectors have 5 numbers" in "".join(
            warnings_of(pipeline, replace(asked, prompt="a concept"))
        )
        (said,) = [m for m in warnings_of(pipeline, replace(asked, prompt="a mywodrs")) if "mywodrs" in m]
        assert "did you mean 'MyWords'?" in said


def test_a_grid_notices_that_a_named_file_changed(
    crumb: Denoiser, asked: ImageRequest, folder: Path, lora: Path, tmp_path: Path
) -> None:
    loras = tmp_path / "loras"
    loras.mkdir()
    named = replace(asked, prompt="a <lora:one:1>", steps=1)

    def cells() -> set[str]:
        list(make_grid("crumb", "seed=1,2", None, named, tmp_path / "grid", loras=loras))
        return {path.name for path in (tmp_path / "grid" / "cells").iterdir()}

    (loras / "one.safetensors").write_bytes(lora.read_bytes())
    first = cells()
    assert cells() == first and len(first) == 2
    (loras / "one.safetensors").write_bytes(next(folder.glob("*.safetensors")).read_bytes())
    assert len(cells()) == 4


def test_the_oldest_prompts_are_forgotten(crumb: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    """512 chunks are kept: five prompts of 100 chunks."""
    encoded: list[PromptText] = []
    encode = crumb.encode_text
    monkeypatch.setattr(crumb, "encode_text", lambda text, **how: encoded.append(text) or encode(text, **how))
    cache = PromptCache()
    spec = ImageSpec(prompt="", width=64, height=64, seed=1, steps=1, guidance=3.0, sampler="ddim")
    texts = [PromptText((WeightedText(f"a {number}"),)) for number in range(6)]
    for text in (*texts, texts[5], texts[1], texts[0]):
        cache.weighted(crumb, text, spec, chunks=100)
    assert encoded == [*texts, texts[0]]
