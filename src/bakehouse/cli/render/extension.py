"""Output of `dataset extend`: what a dataset lacks, and what was drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from bakehouse.cli.render.consoles import print_json
from bakehouse.cli.render.message_collector import MessageCollector
from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.core.message_text import counted
from bakehouse.synthesis.candidates import ACCEPT, SHEET, Candidates
from bakehouse.synthesis.extension import Extension


def print_extension(extension: Extension, *, json: bool = False) -> None:
    """Print what the captions name of each aspect, and the prompts that would be drawn."""
    prompts = [wanted.prompt for wanted in extension.wanted]
    if json:
        shown = {aspect.name: dict(aspect.shown) for aspect in extension.aspects}
        findings = [finding.to_json() for finding in extension.findings]
        print_json({"dataset": extension.images.root, "shown": shown, "findings": findings, "prompts": prompts})
        return
    _print_aspects(extension)
    for prompt, count in Counter(prompts).items():
        echo(f"would draw: {prompt}" + (f"  (x{count})" if count > 1 else ""))
    echo(f"{counted(len(prompts), 'image')} wanted; nothing was drawn")


def print_candidates(
    extension: Extension, candidates: Candidates, *, messages: MessageCollector, json: bool = False
) -> None:
    """Print what was drawn and dropped, and how to answer."""
    if json:
        listed = [{**asdict(c), "path": candidates.path(c), "passed": c.passed} for c in candidates.items]
        answers = {"sheet": candidates.folder / SHEET, "accept": candidates.folder / ACCEPT}
        print_json({"dataset": candidates.dataset, "candidates": listed, **answers} | messages.to_json())
        return
    _print_aspects(extension)
    for candidate in candidates.items:
        score = "unknown" if candidate.fidelity is None else f"{candidate.fidelity:.2f}"
        found = f"dropped: {candidate.reason}" if candidate.reason else f"subject {score}: {candidate.prompt}"
        echo(f"{candidate.name}  {found}")
    passed, drawn = len(candidates.passed), len(candidates.items)
    echo(f"{passed} of {counted(drawn, 'drawn image')} passed, for {counted(len(extension.wanted), 'prompt')}")
    if not passed:
        echo("nothing to accept: train longer, or lower --least-fidelity and look at the images on the page")
    echo(f"look at them: {candidates.folder / SHEET}")
    if passed:
        command = ("bakehouse", "dataset", "extend", extension.run.folder, extension.images.root)
        echo(f"change yes to no in {candidates.folder / ACCEPT} where an image is not good enough")
        echo(f"then add them with: {shell_command(*command, '--accept', candidates.folder / ACCEPT)}")


def _print_aspects(extension: Extension) -> None:
    for aspect in extension.aspects:
        echo(f"{aspect.name}: {', '.join(f'{label} {count}' for label, count in aspect.shown.items())}")
    for finding in extension.findings:
        echo(f"audit {finding.id}: {finding.why}")
