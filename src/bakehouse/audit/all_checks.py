"""Every check of the audit: its id, which stays; how bad it is; from where on; and the command that mends it."""

from __future__ import annotations

from bakehouse.audit import balance_checks as balance
from bakehouse.audit import bucket_checks as bucket
from bakehouse.audit import caption_checks as caption
from bakehouse.audit import file_checks as file
from bakehouse.audit import mask_checks as mask
from bakehouse.audit import pixel_checks as pixel
from bakehouse.audit import trigger_checks as trigger
from bakehouse.audit.check import Check
from bakehouse.audit.duplicate_check import copies
from bakehouse.captions.triggers.findings import EVERYWHERE, FEW

_DATASET = "bakehouse dataset"
_EDIT = "bakehouse captions edit {folder}"
_PLAN = "bakehouse plan {plan} -o {recipe}"
_TAG = "bakehouse captions tag {folder} --existing replace"

FAMILIES = {"A": "Files", "B": "Pixels", "C": "Captions", "D": "Triggers", "E": "Balance", "F": "Masks"}

# fmt: off
CHECKS: tuple[Check, ...] = (
    Check("A01", "error", "cannot be read", file.unreadable, mend=f"{_DATASET} tidy {{folder}}"),
    Check(
        "A02", "error", "too large to decode", file.too_large,
        threshold="over {megapixels:g} megapixels or {side:,} px a side", mend=f"{_DATASET} tidy {{folder}}",
    ),
    Check(
        "A03", "warning", "another format than its name", file.misnamed,
        mend=f"{_DATASET} convert {{folder}} --names-only",
    ),
    Check("A04", "error", "several images of one name", file.same_stem, mend=f"{_DATASET} tidy {{folder}}"),
    Check("A05", "info", "files of other programs, stale caches", file.junk, mend=f"{_DATASET} tidy {{folder}}"),
    Check("A06", "error", "links that lead astray", file.links, mend=f"{_DATASET} tidy {{folder}} -o {{copy}}"),
    Check("A07", "warning", "upright only by EXIF", file.turned, mend=f"{_DATASET} convert {{folder}}"),
    Check("A08", "warning", "colours that are not sRGB", file.profiles, mend=f"{_DATASET} convert {{folder}}"),
    Check("A09", "error", "16-bit or float grey", file.deep_grey, mend=f"{_DATASET} convert {{folder}}"),
    Check("A10", "warning", "CMYK", file.inks, mend=f"{_DATASET} convert {{folder}}"),
    Check("A11", "warning", "transparent pixels", file.transparent, mend=f"{_DATASET} flatten {{folder}}"),
    Check("A12", "warning", "animated", file.animated, mend=f"{_DATASET} convert {{folder}} --frames distinct"),
    Check("A13", "info", "metadata that tells too much", file.telling, mend=f"{_DATASET} tidy {{folder}} --metadata"),
    Check(
        "B01", "warning", "smaller than the resolution", pixel.small,
        threshold="enlarged over {enlarged:g} times for its bucket; error: over {enlarged_badly:g} times",
        mend=f"{_DATASET} upscale {{folder}} --resolution {{resolution}}",
        instead="find larger copies, or train at a lower resolution; `bakehouse dataset upscale` only invents detail",
    ),
    Check(
        "B02", "warning", "cut by its bucket", bucket.cut, looks="faces",
        threshold="over {lost:.0%} of the area; error: over {lost_badly:.0%}, or a face",
        mend="bakehouse plan {plan} --set buckets.step=32 -o {recipe}",
    ),
    Check(
        "B03", "warning", "buckets that are hard to fill", bucket.filled,
        threshold="over {buckets}, or one with fewer images than the batch",
        mend="bakehouse plan {plan} --set buckets.step=128 -o {recipe}",
    ),
    Check(
        "B04", "warning", "a border of one colour", pixel.borders, threshold="over {border:.0%} of a side",
        mend=f"{_DATASET} trim {{folder}}",
    ),
    Check(
        "B05", "warning", "blurred", pixel.blurred, mend=f"{_DATASET} drop {{folder}} B05 {{use}}", unsure=True,
        threshold="variance of the Laplacian below {sharpness:g} in the bucket",
        instead="find sharper originals, or train at a lower resolution, at which they are sharp",
    ),
    Check(
        "B06", "warning", "blocks of JPEG", pixel.compressed,
        threshold="quality below {jpeg_quality}, or edges on the grid {blocks:g} above those beside it",
        mend=f"{_DATASET} drop {{folder}} B06 {{use}}", unsure=True,
        instead="find the originals, before they were compressed, or train at a lower resolution",
    ),
    Check(
        "B07", "info", "monochrome", pixel.grey, mend=f"{_DATASET} drop {{folder}} B07 {{use}}", unsure=True,
        threshold="warning: over {grey:.0%} of the images; error: over {grey_badly:.0%}",
        instead="find images with colours; for a style that has none, say --kind style",
    ),
    Check(
        "B08", "warning", "a face too small to learn", pixel.small_faces,
        threshold="below {face} px at 512, in the bucket", needs="faces",
        mend=f"{_DATASET} crop {{folder}} --resolution {{resolution}}",
    ),
    Check(
        "B09", "warning", "text and watermarks", pixel.text,
        threshold="any; one place in over {same_place:.0%} of the images (error for a style)",
        needs="text", mend=f"{_DATASET} clean {{folder}}",
    ),
    Check(
        "B10", "warning", "not one face", pixel.face_count,
        needs="faces", mend=f"{_DATASET} clean {{folder}} --faceless",
        instead="find images that show the face, or tag what hides it (from behind, faceless)",
    ),
    Check(
        "B11", "info", "mix of framings", pixel.framing, looks="faces",
        threshold="warning: one in over {framing:.0%} of the images",
        mend=f"{_DATASET} crop {{folder}} --resolution {{resolution}}", unsure=True,
    ),
    Check(
        "B12", "warning", "one background", pixel.backgrounds, threshold="in over {background:.0%} of the images",
        mend=f"{_DATASET} mask {{folder}}", unsure=True,
    ),
    Check("B13", "warning", "copies", copies, mend=f"{_DATASET} dedupe {{folder}}"),
    Check("B14", "info", "kind of source", pixel.sources, unsure=True),
    Check("C01", "error", "no caption", caption.missing, mend="bakehouse captions tag {folder}"),
    Check("C02", "warning", "captions that others read otherwise", caption.encodings, mend=f"{_EDIT} --tidy --utf8"),
    Check("C03", "warning", "captions without an image", caption.strays, mend=f"{_DATASET} tidy {{folder}}"),
    Check(
        "C04", "warning", "too long", caption.lengths,
        threshold="over {tokens} tokens, or what the training uses; error: over {tokens_most}",
        mend="bakehouse plan {plan} --set model.max_tokens=225 -o {recipe}",
    ),
    Check("C05", "warning", "a tag twice", caption.twice, mend=f"{_EDIT} --dedupe"),
    Check("C06", "warning", "said twice over", caption.redundant, mend=f"{_EDIT} --redundant"),
    Check("C07", "warning", "synonyms", caption.synonyms, mend=f"{_EDIT} --synonyms"),
    Check(
        "C08", "warning", "contradictions", caption.contradictions,
        mend=f"{_EDIT} --rules contradictions", unsure=True,
    ),
    Check("C09", "warning", "tags that say nothing of the picture", caption.junk_tags, mend=f"{_EDIT} --junk"),
    Check("C10", "warning", "tags that may mean anything", caption.vague, mend=f"{_EDIT} --remove TAG"),
    Check(
        "C11", "warning", "tags that the base does not know", caption.unknown,
        threshold="unknown; info: fewer than {known:,} pictures", needs="vocabulary", mend=f"{_EDIT} --replace OLD=NEW",
    ),
    Check("C12", "warning", "other characters", caption.characters, needs="vocabulary", mend=f"{_EDIT} --remove TAG"),
    Check(
        "C13", "warning", "far too many tags", caption.panic, threshold="over {caption_bytes:,} bytes of tags",
        mend=_TAG,
    ),
    Check("C14", "warning", "tags and sentences mixed", caption.mixed_forms, mend=_TAG),
    Check("C15", "warning", "spelled in two ways", caption.spelling, mend=f"{_EDIT} --underscores spaces"),
    Check(
        "C16", "warning", "a trigger misspelled", caption.near_misses, threshold="one or two letters apart",
        needs="triggers",
        mend=f"{_EDIT} --replace OLD=NEW",
    ),
    Check(
        "D01", "error", "a trigger is missing", trigger.unfit, needs="triggers",
        mend="bakehouse captions compile {folder}",
    ),
    Check(
        "D02", "error", "triggers that cannot be told apart", trigger.explained("D02"), needs="triggers",
        advice="split the images between them (`share = 0.5`), or show each with and without (`also_without = true`)",
    ),
    Check(
        "D03", "warning", "hardly ever apart", trigger.explained("D03"), threshold=f"fewer than {FEW} images",
        needs="triggers", advice="find images with the one and without the other, or proceed as for D02",
    ),
    Check(
        "D04", "warning", "a tag grown together with a trigger", trigger.fused, needs="triggers",
        threshold="in over {fused:.0%} of its captions, weighted by repeats",
        advice="find images of it without the tag, or let it absorb the tag",
    ),
    Check(
        "D05", "warning", "left out in all groups", trigger.explained("D05"), needs="triggers",
        threshold=f"in {EVERYWHERE:.0%} of all shows",
        advice="add a group of images with other things, in a folder that none of the triggers names",
    ),
    Check(
        "D06", "warning", "absorbs what it should not", trigger.explained("D06"), needs="triggers",
        advice="take the tag out of its absorbs in triggers.toml, and compile again",
    ),
    Check(
        "D07", "info", "strategy as declared", trigger.strategies, needs="triggers",
        advice="say the strategy that the captions come to, or change what it absorbs and keeps",
    ),
    Check(
        "D08", "warning", "a word that means something already", trigger.taken_words, needs="triggers",
        advice="choose a word without a meaning, like zwx; `bakehouse triggers probe WORD` asks the base model",
    ),
    Check(
        "D09", "warning", "characters together", trigger.together, needs="triggers",
        threshold="no image of two characters, or words that count people in one",
        advice="find images of them together",
    ),
    Check(
        "E01", "warning", "few images", balance.few, threshold="fewer than {images}, {pack_images} in a pack",
        advice="find more images; `bakehouse dataset crop FOLDER` adds nearer views of large ones",
    ),
    Check(
        "E02", "warning", "shown unequally", balance.unequal, threshold="over {spread:.0%} from the mean",
        mend=f"{_DATASET} repeats {{folder}} --write folders",
    ),
    Check(
        "E03", "warning", "images shown in all", balance.steps,
        threshold="2,000 to 3,000 with Prodigy, twice that with AdamW", mend=_PLAN,
    ),
    Check(
        "E04", "warning", "folders without a number", balance.unnumbered,
        mend=f"{_DATASET} repeats {{folder}} --write folders",
    ),
    Check(
        "E05", "warning", "regularization images", balance.reg_images,
        threshold="more than are shown; error: a caption with a trigger",
        mend=f"{_DATASET} drop {{folder}} E05 {{use}}",
    ),
    Check(
        "E06", "info", "times that an image is shown", balance.views, threshold="warning: over {views}",
        mend=_PLAN,
    ),
    Check("F01", "error", "masks that cannot be used", mask.unfit, needs="masks", mend=f"{_DATASET} tidy {{folder}}"),
    Check(
        "F02", "warning", "masks that may be wrong", mask.doubtful, needs="quality",
        mend=f"{_DATASET} drop {{folder}} F02 {{use}}",
    ),
    Check("F03", "info", "share of the loss that masks keep", mask.kept, needs="masks"),
    Check("F04", "warning", "with and without masks", mask.mixed, needs="masks", mend=f"{_DATASET} mask {{folder}}"),
)
# fmt: on
