"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakehouse.cli.main import main

Typed = Callable[..., tuple[int, str, str]]
"""Types a command; returns its exit code, standard output and standard error."""


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Types a command; gives its exit code, standard output and standard error, each in one line."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main(list(words))
        out, err = (" ".join(text.split()) for text in capsys.readouterr())
        return int(e.value.code or 0), out, err

    return run
