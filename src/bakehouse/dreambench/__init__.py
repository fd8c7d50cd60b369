"""The DreamBooth benchmark: subjects trained one after the other, asked for in new prompts, and scored as in the paper.

Ruiz et al. 2022, "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation",
arXiv:2208.12242, sections 4.1 and 4.2.
"""

from __future__ import annotations

from bakehouse.dreambench.benchmark_data import Benchmark, Subject, read_benchmark
from bakehouse.dreambench.protocol import Benched, BenchSpec, run_benchmark
from bakehouse.dreambench.result import BenchResult, SubjectRow
from bakehouse.dreambench.table import markdown

__all__ = [
    "BenchResult",
    "BenchSpec",
    "Benched",
    "Benchmark",
    "Subject",
    "SubjectRow",
    "markdown",
    "read_benchmark",
    "run_benchmark",
]
