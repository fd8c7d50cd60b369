"""The model card: what the model is, how to use it, how good it is, how it was made, under which licence."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from importlib import metadata

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.files_of_adapter import DIFFUSERS_FILE
from bakehouse.core.message_text import listed, visible
from bakehouse.publish.card_fields import front_matter
from bakehouse.publish.card_scores import scores_section, trigger_section
from bakehouse.publish.gallery import GalleryImage
from bakehouse.publish.markdown_text import code, plain, table
from bakehouse.publish.model_files import EMBEDDING_FILE, ModelFiles
from bakehouse.publish.publication_facts import PublicationFacts

_KINDS = {"slider": "A slider", "embedding": "A learned word", "model": "A fine-tuned model"}
_ALGORITHMS = {
    "lora": "LoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "dylora": "DyLoRA",
    "glora": "GLoRA",
    "full": "full fine-tune",
    "none": "textual inversion",
    "diff": "full-rank difference",
}
_PAIR_WIDTH = 256
"""Pixels."""
CONSENT = (
    "**This model shows a real person, who has agreed to its publication.** Do not use it to deceive, to harass, or to "
    "show the person in a way that they would not agree to."
)


def make_card(facts: PublicationFacts, images: tuple[GalleryImage, ...], files: ModelFiles, repo: str) -> str:
    """Return the text of README.md.

    Args:
        repo: what a reader loads: a repository's id, or words in place of a path.
    """
    sections: Sequence[Iterator[str]] = (
        _head(facts, images),
        _words(facts),
        _use(facts, files, repo, has_images=bool(images)),
        _pairs(facts, images),
        scores_section(facts),
        trigger_section(facts),
        _training(facts),
        _licence(facts),
    )
    body = "\n".join(line for section in sections for line in section)
    return f"{front_matter(facts, images)}\n{body}\n"


def _head(facts: PublicationFacts, images: tuple[GalleryImage, ...]) -> Iterator[str]:
    yield from (f"# {plain(facts.title)}", "")
    if images:
        yield from ("<Gallery />", "")
    by = f", by {plain(facts.spec.author)}" if facts.spec.author else ""
    what = _KINDS.get(facts.kind) or f"{_algorithm(facts)} adapter"
    yield from (f"{what} for {_base_link(facts)}{by}.", "")
    if facts.spec.about:
        yield from (plain(facts.spec.about), "")
    if facts.spec.person == "real":
        yield from (CONSENT, "")


def _algorithm(facts: PublicationFacts) -> str:
    kind = facts.recipe.adapter.kind
    return _ALGORITHMS.get(kind, kind.upper())


def _base_link(facts: PublicationFacts) -> str:
    if facts.base_on_hub:
        return f"[{plain(facts.base_on_hub)}](https://huggingface.co/{facts.base_on_hub})"
    if facts.base == BUNDLED_BASE:
        return "crumb, the 128-pixel base model inside bakehouse"
    return code(facts.base)


def _words(facts: PublicationFacts) -> Iterator[str]:
    yield from ("## Trigger words", "")
    if facts.slider is not None:
        yield f"None: its strength is the control, from {facts.slider.low:g} to {facts.slider.high:g}."
    elif not facts.triggers:
        yield "None."
    for _, phrase in facts.triggers:
        yield f"Use {code(phrase)} in the prompt."
    yield ""
    if facts.kind == "adapter":
        yield from (f"Recommended strength: {facts.strength:g}.", "")


def _use(facts: PublicationFacts, files: ModelFiles, repo: str, *, has_images: bool) -> Iterator[str]:
    yield from ("## Files", "")
    named = [(one.name or "unet/, vae/, ...", one.what) for one in files.files]
    yield from table(("file", "for"), [(code(name), what) for name, what in named])
    yield ""
    if files.missing:
        yield from (f"There is no file for diffusers: {plain(files.missing)}.", "")
    good = [v.program for v in files.verdicts if v.loads and not v.limits]
    partly = [v for v in files.verdicts if v.limits or not v.loads]
    if good:
        yield from (f"{code(facts.name + '.safetensors')} works the same in {listed(good)}.", "")
    for verdict in partly:
        yield f"- {verdict.program}: {plain(verdict.why)}"
    if partly:
        yield ""
    if not files.missing:
        yield from ("### In diffusers", "", "```python", *_snippet(facts, repo), "```", "")
    where = {"model": "models/Stable-diffusion", "embedding": "embeddings"}.get(facts.kind, "models/Lora")
    prompt = f"{facts.triggers[0][1]}, " if facts.triggers else ""
    tag = f" <lora:{facts.name}:{facts.strength:g}>" if facts.kind in ("adapter", "slider") else ""
    yield from ("### In A1111", "")
    beside = "the `.json` and the `.preview.png`" if has_images else "the `.json`"
    yield f"Put {code(facts.name + '.safetensors')}, with {beside} beside it, into `{where}`"
    yield f"and use a prompt such as {code(f'{prompt}portrait{tag}')}."
    yield ""


def _snippet(facts: PublicationFacts, repo: str) -> Iterator[str]:
    """Code that loads the model with diffusers alone; crumb's folder is found with bakehouse."""
    prompt = f"{facts.triggers[0][1]}, portrait" if facts.triggers else "portrait of a person"
    single = facts.base.endswith((".safetensors", ".ckpt")) and facts.kind != "model" and not facts.base_on_hub
    crumb = facts.base == BUNDLED_BASE and facts.kind != "model"
    pipeline = _PIPELINES[facts.family] if single else "DiffusionPipeline"
    load = "from_single_file" if single else "from_pretrained"
    yield from ("import torch", f"from diffusers import {pipeline}")
    if crumb:
        yield "from bakehouse.models.crumb import crumb_folder"
    base = "str(crumb_folder())" if crumb else repr(repo if facts.kind == "model" else facts.base)
    yield from ("", f'pipeline = {pipeline}.{load}({base}).to("cuda", torch.float16)')
    if facts.kind == "embedding":
        word = facts.triggers[0][0]
        yield f"pipeline.load_textual_inversion({repo!r}, weight_name={EMBEDDING_FILE!r}, token={word!r})"
    elif facts.kind != "model":
        yield f"pipeline.load_lora_weights({repo!r},"
        yield f"                           weight_name={DIFFUSERS_FILE!r}, adapter_name='subject')"
        yield f"pipeline.set_adapters(['subject'], [{facts.strength:g}])"
    yield f"image = pipeline({prompt!r}).images[0]"


_PIPELINES = {"sd1": "StableDiffusionPipeline", "sd2": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


def _pairs(facts: PublicationFacts, images: tuple[GalleryImage, ...]) -> Iterator[str]:
    """The same seed and prompt with the model, and without it and its trigger."""
    pairs = [image for image in images if image.base is not None]
    if not pairs:
        return
    yield from ("## With and without", "")
    yield "Each pair has the same seed; the right one is the untouched base, with the same prompt without the trigger."
    yield ""
    width = min(facts.side, _PAIR_WIDTH)
    rows = [(plain(i.prompt), *(_image(name, i.prompt, width) for name in (i.name, i.base_name))) for i in pairs]
    yield from table(("prompt", "this model", "the base"), rows)
    yield ""


def _image(name: str, prompt: str, width: int) -> str:
    """HTML, since Markdown knows no size: two images of 1024 pixels would not fit beside each other."""
    alt = html.escape(" ".join(visible(prompt).split())).replace("|", "&#124;")  # a pipe would end the cell
    return f'<img src="{name}" width="{width}" alt="{alt}">'


def _training(facts: PublicationFacts) -> Iterator[str]:
    recipe = facts.recipe
    yield from ("## Training", "")
    settings = recipe.adapter
    rank = getattr(settings, "rank", None)
    rows = [
        ("method", _algorithm(facts) + (f", rank {rank}" if rank else "")),
        ("weights", facts.weights.name),
        ("epochs, batch size", f"{recipe.train.epochs}, {recipe.train.batch}"),
        ("optimizer, learning rate", f"{recipe.optimizer.name}, {recipe.optimizer.lr or recipe.embedding.lr or 0:g}"),
        ("resolution", str(recipe.buckets.resolution)),
        ("seed", str(recipe.seed)),
    ]
    yield from table(("setting", "value"), [(name, plain(value)) for name, value in rows])
    yield ""
    yield "`recipe.toml` has all settings. Trained with bakehouse " + metadata.version("bakehouse") + "."
    yield ""


def _licence(facts: PublicationFacts) -> Iterator[str]:
    licence = facts.licence
    title = f"[{plain(licence.title)}]({licence.link})" if licence.link else plain(licence.title)
    yield from ("## Licence", "")
    if licence.derived == "same":
        yield f"{title}, as the base model demands of all models that are made from it."
    else:
        yield f"{title}."
