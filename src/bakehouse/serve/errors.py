"""What the server refuses, or could not do. Each dialect answers it in its own form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakehouse.core.errors import BakehouseError


class ServeError(BakehouseError):
    """An answer other than success."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        retry_after: float | None = None,
        estimated_time: float | None = None,
        headers: Mapping[str, str] | None = None,
        problems: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Make an error.

        Args:
            status: HTTP status.
            code: short name for programs, such as `quota_exceeded`.
            message: for the caller.
            hint: what to do about it.
            retry_after: seconds after which the same request may succeed.
            estimated_time: seconds until the model is loaded, for 503.
            headers: of the answer.
            problems: single errors of the message, each with its `key`.
        """
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.estimated_time = estimated_time
        self.headers = dict(headers or {})
        self.problems = list(problems)

    @property
    def text(self) -> str:
        """Message and hint as one line."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def all_headers(self) -> dict[str, str]:
        """Return the answer's headers, `Retry-After` included."""
        retry = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        return {**retry, **self.headers}


def bad_request(message: str, *, hint: str = "", code: str = "invalid_request") -> ServeError:
    """Return the error for a request that cannot be followed as it is."""
    return ServeError(400, code, message, hint=hint)


def not_found(message: str, *, hint: str = "") -> ServeError:
    """Return the error for something that does not exist, or not for this caller."""
    return ServeError(404, "not_found", message, hint=hint)
