"""The table of all checks: stable id, level, problem, function, threshold, and the command that helps."""

from __future__ import annotations

from bakehouse.doctor import file_checks as file
from bakehouse.doctor import image_checks as image
from bakehouse.doctor import pair_checks as pair
from bakehouse.doctor import training_checks as training
from bakehouse.doctor.check import Check
from bakehouse.evaluation.selection import (
    LEARNED_FIDELITY,
    MAX_BROKEN,
    MAX_CLASS_SHIFT,
    MAX_COPIES,
    MAX_DRIFT,
    MIN_PROMPT_RETENTION,
    VISIBLE_EFFECT,
)

_AGAIN = "bakehouse train {recipe} --run {next}"
_FIND_RATE = "bakehouse find-rate {recipe}"

CHECK_GROUPS = {
    "A": "An adapter file",
    "B": "Two adapter files",
    "C": "The training of a run",
    "D": "The images of a run",
}

# fmt: off
CHECKS: tuple[Check, ...] = (
    Check(
        "A01", "error", "weights that are not numbers", file.not_finite, requires="adapter",
        threshold="any NaN or infinity",
        advice="use an earlier checkpoint, and train again with a third of the learning rate",
    ),
    Check(
        "A02", "error", "the file changes nothing", file.changes_nothing, requires="adapter",
        threshold="all changes of a network are zero; info: only those of a text encoder",
        advice="train again with adapter.alpha and optimizer.lr above 0; this file has nothing to restore",
    ),
    Check(
        "A03", "error", "tensors that are not applied", file.not_applied, requires="adapter",
        threshold="any tensor or setting whose effect is unknown",
        fix="bakehouse weights convert {file} --drop KEY -o {smaller}",
    ),
    Check(
        "A04", "error", "modules that the base does not have", file.not_in_the_base, requires="base",
        threshold="half of the modules, or a size that differs; warning: fewer",
        advice="use it with the base that it was trained on; an adapter cannot be converted to another one",
    ),
    Check(
        "A05", "error", "made for another family of base models", file.other_family, requires="base",
        threshold="by the header and by the sizes of the attention",
        advice="use it with a base of its own family; an adapter cannot be converted to another one",
    ),
    Check(
        "A06", "error", "trained for another prediction type", file.other_prediction, requires="base",
        threshold="the header and the base's settings name different types",
        advice="use it with a base of the same prediction type, or train it again on this one",
    ),
    Check(
        "A07", "warning", "a program cannot load the file", file.program_cannot_load, requires="adapter",
        threshold="as measured with each program's own loader; info: another program loads it; error: with --program",
        fix="bakehouse weights convert {file} --to FORMAT -o {out}",
    ),
    Check(
        "A08", "warning", "a change of unusual size", file.size_of_change, requires="base",
        threshold="below {change_small:.2%} or above {change_large:.0%} of the norm of the base's weights",
        fix="bakehouse weights rescale {file} --factor 0.5 -o {scaled}", heuristic=True,
    ),
    Check(
        "A09", "error", "a trigger that is in no caption", file.no_trigger, requires="adapter",
        threshold="by the header's counts of tags; info: no trigger is named",
        fix="bakehouse weights edit {file} --trigger {words} --overwrite",
    ),
    Check(
        "B01", "error", "adapters for different base models", pair.different_bases, requires="pair",
        threshold="no family in common",
        advice="they cannot be used together: train one of them again on the other's base",
    ),
    Check(
        "B02", "warning", "adapters with the same trigger", pair.same_trigger, requires="pair",
        threshold="any trigger in common",
        advice="use one at a time: a prompt cannot ask for only one of them",
    ),
    Check(
        "B03", "warning", "adapters that undo each other", pair.opposed, requires="pair",
        threshold="over {interference:.0%} of a change is undone by the other",
        advice="use one at a time, or train both subjects in one run with a folder for each",
    ),
    Check(
        "B04", "warning", "adapters that make the same change", pair.overlapping, requires="pair",
        threshold="over {interference:.0%} of a change is made twice",
        fix="bakehouse weights merge {merged} -o {out}",
    ),
    Check(
        "C01", "error", "the loss is not a number", training.loss_not_a_number, requires="run",
        threshold="any NaN or infinity", fix=f"{_AGAIN} {{setting}}",
    ),
    Check(
        "C02", "warning", "the training did not finish", training.unfinished, requires="run",
        threshold="error: it failed", fix="bakehouse train {recipe}",
    ),
    Check(
        "C03", "warning", "a learning rate far off", training.learning_rate, requires="plan",
        threshold="{rate:g} times above or below the plan's", fix=f"{_AGAIN} --set optimizer.lr={{usual}}",
    ),
    Check(
        "C04", "warning", "the loss rises", training.loss_rises, requires="run",
        threshold="over {loss_rise:.0%} from the first to the last fifth of the steps, beyond chance",
        fix=f"{_AGAIN} {{slower}}", heuristic=True,
    ),
    Check(
        "C05", "warning", "a training of unusual length", training.exposures, requires="plan",
        threshold="less than 1/{exposures:g} or more than {exposures:g} times the images that the plan shows",
        fix=f"{_AGAIN} {{length}}",
        heuristic=True,
    ),
    Check(
        "C06", "warning", "the run never saw its trigger", training.trigger_not_in_captions, requires="inputs",
        threshold="in fewer than {trigger_share:.0%} of its images' captions; error: in none",
        fix="bakehouse captions edit {folder} --add {subject}",
    ),
    Check(
        "C07", "warning", "captions that are all alike", training.captions_alike, requires="inputs",
        threshold="{captions_alike:.0%} of the images have one caption",
        fix="bakehouse captions tag {folder} --base {base}",
    ),
    Check(
        "C08", "warning", "class images are missing", training.no_class_images, requires="plan",
        threshold="usual for this kind of subject and left out; error: wanted and never shown",
        fix=f"{_AGAIN} --set {{prior}}",
    ),
    Check(
        "D01", "error", "nothing changes", image.nothing_changes, requires="evaluation",
        threshold=f"the trigger moves images by less than {VISIBLE_EFFECT:.0%} of the way to the subject",
        fix=_FIND_RATE,
    ),
    Check(
        "D02", "error", "undertrained", image.undertrained, requires="evaluation",
        threshold=f"subject fidelity below {LEARNED_FIDELITY:.0%}", fix=f"{_AGAIN} {{settings}}",
    ),
    Check(
        "D03", "error", "burnt (overtrained)", image.burnt, requires="evaluation",
        threshold=f"below {MIN_PROMPT_RETENTION:.0%} of the base's prompt accuracy, over {MAX_COPIES:.0%} near copies, "
        f"or over {MAX_BROKEN:.0%} broken images",
        fix=f"{_AGAIN} {{settings}}",
    ),
    Check(
        "D04", "error", "the class word became the subject", image.class_became_subject, requires="evaluation",
        threshold=f"images of the class move over {MAX_DRIFT:g} points towards the subject",
        fix=f"{_AGAIN} --set {{prior}}",
    ),
    Check(
        "D05", "warning", "style leak", image.style_leak, requires="other images",
        threshold=f"images of other subjects move over {MAX_CLASS_SHIFT:g}% of the distance from base to subject",
        fix=f"{_AGAIN} --set {{prior}}",
    ),
    Check(
        "D06", "warning", "blurred face", image.blurred_face, requires="faces",
        threshold=f"over {MAX_BROKEN:.0%} smeared faces, more than the base has; or below {{face_sharpness:.0%}} "
        "of the sharpness of faces in the photos and the base's images",
        fix="bakehouse dataset crop {folder}",
    ),
    Check(
        "D07", "error", "two outfits alike", image.two_alike, requires="outfits",
        threshold="images of two triggers below {separation:.0%} as far apart as their photos",
        fix="bakehouse triggers explain {recipe}",
    ),
    Check(
        "D08", "error", "one outfit everywhere", image.one_everywhere, requires="outfits",
        threshold="in over {taken_over:.0%} of the images of every other trigger",
        fix="bakehouse dataset repeats {balance}",
    ),
)
# fmt: on
