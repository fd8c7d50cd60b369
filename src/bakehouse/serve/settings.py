"""How a server is started. Plain values; the command line makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bakehouse.serve.guard.limits import Limits
from bakehouse.serve.store.store import default_folder
from bakehouse.serve.store.tokens import NO_QUOTA, Quota, Scope
from bakehouse.serve.work.engine import EngineSettings
from bakehouse.serve.work.served_models import ModelToServe

LOOPBACK = ("127.0.0.1", "::1", "localhost")
HF_2023_QUOTA = Quota(characters_per_month=30_000)
"""What the free tier of the Hugging Face Inference API gave in early 2023."""
HF_2023_IDLE_SECONDS = 15 * 60.0


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Everything that decides what a server does."""

    models: tuple[ModelToServe, ...]
    engine: EngineSettings = field(default_factory=EngineSettings)
    folder: Path | None = None
    """The data folder; None: `serve` in the user's data folder."""
    datasets: Path | None = None
    """The folder whose folders are the datasets; None: `datasets` in the data folder."""
    runs: Path | None = None
    """The folder of run folders; None: `runs` in the data folder."""
    host: str = "127.0.0.1"
    port: int = 7860
    anonymous: Scope | None = None
    """What callers without a token may do: nothing, `read` or `draw`."""
    quota: Quota = NO_QUOTA
    """Limits of anonymous callers, each address for itself, and of tokens that have none of their own."""
    limits: Limits = field(default_factory=Limits)
    allowed_hosts: tuple[str, ...] = ()
    """More names by which browsers and clients may call the server."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of other sites whose pages may call the server: `https://example.com`."""
    fetch_hosts: tuple[str, ...] = ()
    """Hosts from which images may be fetched that a request names by URL."""
    hf_2023: bool = False
    """Answer as the Hugging Face Inference API did in early 2023: 503 while a model loads, and its cache."""
    log_prompts: bool = False
    grace: float = 30.0
    """Seconds that pictures have to be finished when the server is stopped."""

    @property
    def datasets_folder(self) -> Path:
        """The folder whose folders are the datasets, as an absolute path."""
        return (self.datasets or (self.folder or default_folder()) / "datasets").resolve()

    @property
    def runs_folder(self) -> Path:
        """The folder of run folders, as an absolute path."""
        return (self.runs or (self.folder or default_folder()) / "runs").resolve()

    @property
    def picture_notes(self) -> dict[str, str]:
        """What is done to served pictures, as headers of every answer say it."""
        is_checked = any(worker.safety_checker for worker in self.engine.workers)
        return {
            "X-Safety-Checker": "on" if is_checked else "off",
            "X-Watermark": "off",
            "X-Provenance": "iptc-digital-source-type",
        }

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
