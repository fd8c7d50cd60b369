"""The token for the Hub: from the environment, the system's keyring, the Hub's own login, or a question.

It is kept in memory alone, and taken out of every message.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from bakehouse.core.errors import UsageError

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
SERVICE, USER = "bakehouse", "huggingface"
"""Names of the entry in the keyring: `keyring set bakehouse huggingface`."""
_HINT = (
    "create one with write permission at https://huggingface.co/settings/tokens, and set HF_TOKEN, or keep it in the "
    f"keyring (keyring set {SERVICE} {USER}), or log in (hf auth login)"
)


@dataclass(frozen=True)
class HubToken:
    """A token that is never printed."""

    text: str = field(repr=False)
    source: str
    """Where it is from, for messages."""

    def hide_in(self, text: str) -> str:
        """Return a text without the token."""
        return text.replace(self.text, "***")


def token_source() -> str:
    """Return where the user's token would be taken from, for messages; empty if there is none."""
    try:
        return find_token().source
    except UsageError:
        return ""


def find_token(ask: Callable[[], str] | None = None) -> HubToken:
    """Return the user's token.

    Args:
        ask: asks the user for it, where there is one to ask.

    Raises:
        UsageError: there is none.
    """
    for name in _VARIABLES:
        if text := os.environ.get(name, "").strip():
            return HubToken(text, f"the environment variable {name}")
    if text := _in_keyring():
        return HubToken(text, "the system's keyring")
    from huggingface_hub import get_token

    if text := (get_token() or "").strip():
        return HubToken(text, "the login of the Hub's own client")
    if ask is not None and (text := ask().strip()):
        return HubToken(text, "your answer")
    raise UsageError("there is no token for the Hub", hint=_HINT)


def _in_keyring() -> str:
    """The token in the keyring; empty if it has none, or there is no keyring."""
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return ""
    # Each system's keyring has errors of its own, such as a locked one without a screen to unlock it.
    try:
        return (keyring.get_password(SERVICE, USER) or "").strip()
    except Exception:
        return ""
