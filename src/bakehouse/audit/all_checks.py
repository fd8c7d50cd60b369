"""The table of all checks: stable id, level, title, function, threshold, and the command that fixes the finding."""

from __future__ import annotations

from bakehouse.audit import balance_checks as balance
from bakehouse.audit import bucket_checks as bucket
from bakehouse.audit import caption_checks as caption
from bakehouse.audit import file_checks as file
from bakehouse.audit import mask_checks as mask
from bakehouse.audit import pixel_checks as pixel
from bakehouse.audit import trigger_checks as trigger
from bakehouse.audit.check import Check
from bakehouse.audit.duplicate_check import duplicates
from bakehouse.captions.triggers.findings import MIN_IMAGES, OMITTED_EVERYWHERE

_DATASET = "bakehouse dataset"
_EDIT = "bakehouse captions edit {folder}"
_PLAN = "bakehouse plan {plan} -o {recipe}"
_TAG = "bakehouse captions tag {folder} --tagger {tagger}"
_TAG_AGAIN = "bakehouse captions tag {folder} --existing replace --tagger {tagger}"

CHECK_GROUPS = {"A": "Files", "B": "Pixels", "C": "Captions", "D": "Triggers", "E": "Balance", "F": "Masks"}

# fmt: off
CHECKS: tuple[Check, ...] = (
    Check("A01", "error", "unreadable image", file.unreadable, fix=f"{_DATASET} tidy {{folder}}"),
    Check(
        "A02", "error", "image too large to decode", file.too_large,
        threshold="over {megapixels:g} megapixels or {side:,} px a side", fix=f"{_DATASET} tidy {{folder}}",
    ),
    Check(
        "A03", "warning", "file extension of another format", file.wrong_extension,
        fix=f"{_DATASET} convert {{folder}} --names-only",
    ),
    Check("A04", "error", "images with the same name", file.same_stem, fix=f"{_DATASET} tidy {{folder}}"),
    Check("A05", "info", "foreign files and stale caches", file.foreign_files, fix=f"{_DATASET} tidy {{folder}}"),
    Check("A06", "error", "broken, circular or external link", file.bad_links,
          fix=f"{_DATASET} tidy {{folder}} -o {{copy}}"),
    Check("A07", "warning", "rotation only in EXIF", file.exif_rotation, fix=f"{_DATASET} convert {{folder}}"),
    Check("A08", "warning", "colour profile other than sRGB", file.color_profiles,
          fix=f"{_DATASET} convert {{folder}}"),
    Check("A09", "error", "16-bit or floating-point greyscale", file.deep_grayscale,
          fix=f"{_DATASET} convert {{folder}}"),
    Check("A10", "warning", "CMYK colours", file.cmyk, fix=f"{_DATASET} convert {{folder}}"),
    Check("A11", "warning", "transparent pixels", file.transparent, fix=f"{_DATASET} flatten {{folder}}"),
    Check("A12", "warning", "animated image", file.animated, fix=f"{_DATASET} convert {{folder}} --frames distinct"),
    Check("A13", "info", "location or generator in the metadata", file.private_metadata,
          fix=f"{_DATASET} tidy {{folder}} --metadata"),
    Check(
        "B01", "warning", "image smaller than the training resolution", pixel.too_small,
        threshold="enlarged over {enlarged:g} times for its bucket; error: over {enlarged_badly:g} times",
        fix=f"{_DATASET} upscale {{folder}} --resolution {{resolution}}",
        advice_instead_of_drop="find larger copies, or train at a lower resolution; `bakehouse dataset upscale` only "
        "invents detail",
    ),
    Check(
        "B02", "warning", "large crop loss", bucket.crop_loss, uses="faces",
        threshold="over {lost:.0%} of the area; error: over {lost_badly:.0%}, or a cut face",
        fix="bakehouse plan {plan} --set buckets.step=32 -o {recipe}",
    ),
    Check(
        "B03", "warning", "too many or underfilled buckets", bucket.bucket_count,
        threshold="over {buckets} buckets, or fewer images in one than the batch size",
        fix="bakehouse plan {plan} --set buckets.step=128 -o {recipe}",
    ),
    Check(
        "B04", "warning", "border of one colour", pixel.borders, threshold="over {border:.0%} of a side",
        fix=f"{_DATASET} trim {{folder}}",
    ),
    Check(
        "B05", "warning", "blurred image", pixel.blurred, fix=f"{_DATASET} drop {{folder}} B05 {{use}}", heuristic=True,
        threshold="variance of the Laplacian below {sharpness:g} at bucket size",
        advice_instead_of_drop="find sharper originals, or train at a lower resolution, at which they are sharp",
    ),
    Check(
        "B06", "warning", "strong JPEG compression", pixel.jpeg_artifacts,
        threshold="quality below {jpeg_quality}; quality unknown: edges on the 8 x 8 grid over {blocks:g} stronger",
        fix=f"{_DATASET} drop {{folder}} B06 {{use}}", heuristic=True,
        advice_instead_of_drop="find the originals, before they were compressed, or train at a lower resolution",
    ),
    Check(
        "B07", "info", "monochrome image", pixel.monochrome, fix=f"{_DATASET} drop {{folder}} B07 {{use}}",
        heuristic=True, threshold="warning: over {grey:.0%} of the images; error: over {grey_badly:.0%}",
        advice_instead_of_drop="find images with colours; for a monochrome style, pass --kind style",
    ),
    Check(
        "B08", "warning", "face too small to learn", pixel.small_faces,
        threshold="below {face} px at resolution 512, in the bucket", requires="faces",
        fix=f"{_DATASET} crop {{folder}} --resolution {{resolution}}",
    ),
    Check(
        "B09", "warning", "text or watermark", pixel.text,
        threshold="any text; same position in over {same_place:.0%} of the images (error for a style)",
        requires="text", fix=f"{_DATASET} clean {{folder}}",
    ),
    Check(
        "B10", "warning", "no face or several faces", pixel.face_count,
        requires="faces", fix=f"{_DATASET} clean {{folder}} --faceless",
        advice_instead_of_drop="find images that show the face, or tag what hides it (from behind, faceless)",
    ),
    Check(
        "B11", "info", "distribution of framings", pixel.framing, uses="faces",
        threshold="warning: one framing in over {framing:.0%} of the images",
        fix=f"{_DATASET} crop {{folder}} --resolution {{resolution}}", heuristic=True,
    ),
    Check(
        "B12", "warning", "repeated background", pixel.repeated_background,
        threshold="the same in over {background:.0%} of the images", fix=f"{_DATASET} mask {{folder}}", heuristic=True,
    ),
    Check("B13", "warning", "duplicate images", duplicates, fix=f"{_DATASET} dedupe {{folder}}"),
    Check("B14", "info", "image source or style by its tags", pixel.sources, heuristic=True),
    Check("C01", "error", "missing caption", caption.missing, fix=_TAG),
    Check("C02", "warning", "caption encoding or line format", caption.encodings, fix=f"{_EDIT} --tidy --utf8"),
    Check("C03", "warning", "caption without an image", caption.stray_captions, fix=f"{_DATASET} tidy {{folder}}"),
    Check(
        "C04", "warning", "caption over the token limit", caption.token_limit,
        threshold="over {tokens} tokens, or the training's limit; error: over {tokens_most}",
        fix="bakehouse plan {plan} --set model.max_tokens=225 -o {recipe}",
    ),
    Check("C05", "warning", "repeated tag", caption.repeated_tags, fix=f"{_EDIT} --dedupe"),
    Check("C06", "warning", "redundant tag", caption.redundant_tags, fix=f"{_EDIT} --redundant"),
    Check("C07", "warning", "synonymous tags", caption.synonyms, fix=f"{_EDIT} --synonyms"),
    Check(
        "C08", "warning", "contradictory tags", caption.contradictions,
        fix=f"{_EDIT} --rules contradictions", heuristic=True,
    ),
    Check("C09", "warning", "non-visual tag", caption.junk_tags, fix=f"{_EDIT} --junk"),
    Check("C10", "warning", "ambiguous tag", caption.ambiguous_tags, fix=f"{_EDIT} --remove TAG"),
    Check(
        "C11", "warning", "tag unknown to the base model", caption.unknown_tags, requires="vocabulary",
        threshold="not in the vocabulary; info: fewer than {known:,} images of it", fix=f"{_EDIT} --replace OLD=NEW",
    ),
    Check("C12", "warning", "name of another character", caption.other_characters, requires="vocabulary",
          fix=f"{_EDIT} --remove TAG"),
    Check(
        "C13", "warning", "oversized tag list", caption.oversized_tag_lists,
        threshold="over {caption_bytes:,} bytes of tags", fix=_TAG_AGAIN,
    ),
    Check("C14", "warning", "mixture of tag lists and sentences", caption.mixed_forms, fix=_TAG_AGAIN),
    Check("C15", "warning", "inconsistent tag spelling", caption.inconsistent_spelling,
          fix=f"{_EDIT} --underscores spaces"),
    Check(
        "C16", "warning", "misspelled trigger", caption.misspelled_triggers, threshold="one or two letters differ",
        requires="triggers",
        fix=f"{_EDIT} --replace OLD=NEW",
    ),
    Check(
        "D01", "error", "missing or misplaced trigger", trigger.missing_triggers, requires="triggers",
        fix="bakehouse captions compile {folder}",
    ),
    Check(
        "D02", "error", "triggers that always co-occur", trigger.from_explain("D02"), requires="triggers",
        advice="split the images between them (`share = 0.5`), or train each image with and without "
        "(`also_without = true`)",
    ),
    Check(
        "D03", "warning", "triggers that almost always co-occur", trigger.from_explain("D03"),
        threshold=f"fewer than {MIN_IMAGES} images with only one of them", requires="triggers",
        advice="find images with one and without the other, or proceed as for D02",
    ),
    Check(
        "D04", "warning", "tag correlated with a trigger", trigger.correlated_tags, requires="triggers",
        threshold="in over {fused:.0%} of its captions, weighted by repeats",
        advice="find images of it without the tag, or let the trigger absorb the tag",
    ),
    Check(
        "D05", "warning", "trait omitted from the captions of all groups", trigger.from_explain("D05"),
        threshold=f"in {OMITTED_EVERYWHERE:.0%} of all exposures", requires="triggers",
        advice="add a group of images with other traits, in a folder that belongs to none of the triggers",
    ),
    Check(
        "D06", "warning", "unsuitable tag absorbed by a trigger", trigger.from_explain("D06"), requires="triggers",
        advice="remove the tag from `absorbs` in triggers.toml and compile again",
    ),
    Check(
        "D07", "info", "effective trigger strategy", trigger.strategies, requires="triggers",
        advice="declare the strategy that the captions amount to, or change `absorbs` and `keeps`",
    ),
    Check(
        "D08", "warning", "trigger with an existing meaning", trigger.known_words, requires="triggers",
        advice="choose a word without a meaning, like zwx; `bakehouse triggers probe WORD` tests it on the base model",
    ),
    Check(
        "D09", "warning", "images of several characters", trigger.characters_together, requires="triggers",
        threshold="no image of two characters, or tags that count people in one",
        advice="find images of them together",
    ),
    Check(
        "E01", "warning", "too few images", balance.too_few,
        threshold="fewer than {images}; for each character of a pack {pack_images}",
        advice="find more images; `bakehouse dataset crop FOLDER` adds close-ups cut from large ones",
    ),
    Check(
        "E02", "warning", "unbalanced repeats", balance.unbalanced_repeats, threshold="over {spread:.0%} from the mean",
        fix=f"{_DATASET} repeats {{folder}} --write folders",
    ),
    Check(
        "E03", "warning", "total exposures of the training", balance.total_budget,
        threshold="2,000 to 3,000 with Prodigy, twice that with AdamW", fix=_PLAN,
    ),
    Check(
        "E04", "warning", "folder without a repeat number", balance.unnumbered,
        fix=f"{_DATASET} repeats {{folder}} --write folders",
    ),
    Check(
        "E05", "warning", "unsuitable class (regularization) images", balance.class_images,
        threshold="more than the training uses; error: a trigger in the caption",
        fix=f"{_DATASET} drop {{folder}} E05 {{use}}",
    ),
    Check(
        "E06", "info", "exposures per image", balance.exposures_per_image, threshold="warning: over {views}",
        fix=_PLAN,
    ),
    Check("F01", "error", "unusable mask", mask.unusable, requires="masks", fix=f"{_DATASET} tidy {{folder}}"),
    Check(
        "F02", "warning", "implausible mask", mask.implausible, requires="quality",
        fix=f"{_DATASET} drop {{folder}} F02 {{use}}",
    ),
    Check("F03", "info", "share of the loss left by the masks", mask.loss_share, requires="masks"),
    Check("F04", "warning", "masks missing from some images", mask.missing_masks, requires="masks",
          fix=f"{_DATASET} mask {{folder}}"),
)
# fmt: on
