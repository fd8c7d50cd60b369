"""Trained parts and learning rates of kohya's trainers; each script has its own options for them."""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse.recipe.importers.option_table import Assignment, Outcome, Settings, converts

FULL = ("train_db.py", "fine_tune.py", "sdxl_train.py")
"""The scripts that train whole weights."""
EMBEDDING = ("train_textual_inversion.py", "sdxl_train_textual_inversion.py")
"""The scripts that train the vectors of a word (textual inversion)."""


def is_embedding(s: Settings) -> bool:
    """Whether it is textual inversion: by the script, or if unknown, because a word is named."""
    if script := s["script"]:
        return script in EMBEDDING
    return s.given("token_string", "init_word")


def is_full(s: Settings) -> bool:
    """Whether it is full fine-tuning: by the script, or if unknown, because no network option is given."""
    if script := s["script"]:
        return script in FULL
    return not is_embedding(s) and not any(name.startswith("network_") for name in s.values)


def text_options(s: Settings) -> tuple[str, ...]:
    """Return the options from which the script reads the text encoders' rates, one for each encoder."""
    if not is_full(s):
        return ("text_encoder_lr",)
    if s["script"] == "sdxl_train.py":
        return ("learning_rate_te1", "learning_rate_te2")
    return ("learning_rate_te",)


def text_rates(s: Settings) -> list[float]:
    """Return each text encoder's rate, by default the general one. For a network kohya uses the first of several."""
    general = float(s["learning_rate"])
    if not is_full(s):
        given = [x for x in s["text_encoder_lr"] or [] if x not in (None, "")]
        return [float(given[0]) if given else general]
    given = [s[name] for name in text_options(s)]
    return [general if x is None else float(x) for x in given]


def trained_parts(s: Settings) -> tuple[bool, bool]:
    """Return whether the UNet and the text encoder are trained; a rate of 0 is off."""
    text = any(text_rates(s))
    if not is_full(s):
        unet = not s["network_train_text_encoder_only"] and s["unet_lr"] != 0
        return unet, text and not s["network_train_unet_only"]
    unet = s["learning_rate"] != 0
    if s["script"] in (None, "train_db.py"):
        stop = s["stop_text_encoder_training"]
        return unet, text and (stop is None or stop > 0)
    return unet, text and bool(s["train_text_encoder"])


@converts("learning_rate", "unet_lr", "text_encoder_lr", "learning_rate_te", "learning_rate_te1", "learning_rate_te2")
def rates(s: Settings) -> Iterator[Outcome]:
    """Convert the learning rates of UNet and text encoder."""
    if is_embedding(s):
        yield s.assign("embedding.lr", "learning_rate")
        return
    unet, text = trained_parts(s)
    if (
        not is_full(s)
        and s.given("learning_rate")
        and (s["unet_lr"] or not unet)
        and (s["text_encoder_lr"] or not text)
    ):
        yield s.note("learning_rate", "no effect", "each trained part has its own rate")
    own = s.given("unet_lr") and s["unet_lr"] and not is_full(s)
    if unet:
        yield Assignment(
            "optimizer.lr", s["unet_lr" if own else "learning_rate"], ("unet_lr" if own else "learning_rate",)
        )
    if not text:
        return
    options, of = text_options(s), text_rates(s)
    value = next(r for r in of if r)
    source = next((name for name in options if s.given(name)), "learning_rate")
    yield Assignment("optimizer.text_lr", value, (source,))
    if len(set(of)) > 1:
        last = next(name for name in reversed(options) if s.given(name))
        shown = " and ".join(f"{r:g}" for r in of)
        yield s.note(last, "unsupported", f"all text encoders have one learning rate: {value:g}, not {shown}")
    several = {float(x) for x in s["text_encoder_lr"] or [] if x not in (None, "")} if not is_full(s) else set()
    if len(several) > 1:
        yield s.note(
            "text_encoder_lr", "set", "kohya uses the first value for all text encoders", sets=("optimizer.text_lr",)
        )


def trained_parts_of_full(s: Settings) -> Iterator[Outcome]:
    """Convert the trained parts of full fine-tuning; the text encoder cannot be stopped early."""
    unet, text = trained_parts(s)
    yield Assignment("adapter.kind", "full", ("script",))
    if not unet and text:
        yield Assignment("adapter.unet", False, ("learning_rate",))
    yield Assignment(
        "adapter.text", text, ("train_text_encoder", "stop_text_encoder_training", *text_options(s), "script")
    )
    if (s["stop_text_encoder_training"] or 0) > 0:
        yield s.note("stop_text_encoder_training", "unsupported", "the text encoder is trained to the end")
