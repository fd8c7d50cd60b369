"""Who calls: a token in the Authorization header, or nobody in particular."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from bakehouse.core.files import sha256_bytes
from bakehouse.serve.errors import ServeError
from bakehouse.serve.store.tokens import NO_QUOTA, SCOPES, Quota, Scope, Tokens

IMPLIED: Mapping[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "draw": frozenset({"read", "draw"}),
    "train": frozenset({"read", "train"}),
    "admin": frozenset(SCOPES),
}
"""What each scope includes."""


COOKIE = "bakehouse"
"""Name of the cookie with a token. Pages of other sites cannot make a browser send it: it is SameSite=Strict."""


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    key: str
    """Under which usage, jobs and pictures are kept: `token:3`, `session`, `anonymous:127.0.0.1`."""
    name: str
    """For logs."""
    scopes: frozenset[Scope]
    """Included ones too."""
    quota: Quota = NO_QUOTA

    @property
    def sees(self) -> str | None:
        """Whose jobs, pictures and usage it may see: its own; None: everybody's."""
        return None if "admin" in self.scopes else self.key


class Gate:
    """Finds out who calls.

    Args:
        tokens: the tokens of the server.
        anonymous: what callers without a token may do.
        quota: of anonymous callers, and of tokens for what they leave open.
        session_hashes: hashes of more tokens, which may do everything: of this session of the server and recent ones.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        anonymous: Scope | None = None,
        quota: Quota = NO_QUOTA,
        session_hashes: frozenset[str] = frozenset(),
    ) -> None:
        self._tokens, self._quota, self._session_hashes = tokens, quota, session_hashes
        self.anonymous = anonymous

    def caller(self, authorization: str | None, address: str, cookie: str | None = None) -> Caller:
        """Return who calls.

        Args:
            authorization: the header: `Bearer TOKEN`, or `Basic` with the token as password.
            address: where the request comes from.
            cookie: the token that a browser keeps for the server's own pages; used where there is no header.

        Raises:
            ServeError: the token is not valid (401), or there is none and none may be missing (401).
        """
        text = _token_in(authorization) if authorization else cookie
        if text is None and authorization is None and self.anonymous is not None:
            return Caller(f"anonymous:{address}", "anonymous", IMPLIED[self.anonymous], self._quota)
        if text is None:
            raise _unauthorized(
                "this needs a token", hint="send it as Authorization: Bearer TOKEN, or as the password of Basic"
            )
        if sha256_bytes(text.encode("utf-8", "replace")) in self._session_hashes:
            return Caller("session", "session", IMPLIED["admin"])
        token = self._tokens.find(text)
        if token is None:
            raise _unauthorized("the token is not valid", hint="it may have been revoked; bakehouse tokens list")
        scopes = frozenset(included for scope in token.scopes for included in IMPLIED[scope])
        own = {name: value for name, value in vars(token.quota).items() if value is not None}
        return Caller(token.caller, token.name, scopes, Quota(**{**vars(self._quota), **own}))


def _token_in(authorization: str) -> str | None:
    kind, _, rest = authorization.strip().partition(" ")
    if kind.lower() == "bearer" and rest.strip():
        return rest.strip()
    if kind.lower() == "basic":
        try:
            _, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return password or None
    return None


def _unauthorized(message: str, *, hint: str) -> ServeError:
    headers = {"WWW-Authenticate": 'Bearer realm="bakehouse", Basic realm="bakehouse"'}
    return ServeError(401, "unauthorized", message, hint=hint, headers=headers)
