"""Write the OpenAPI description of the server's own API, from which the page's types are made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fastapi import FastAPI

from bakehouse.serve.dialects import DIALECTS


def openapi() -> str:
    """Return the description as JSON with sorted keys."""
    app = FastAPI(title="bakehouse", version="1")
    for dialect in DIALECTS:
        app.router.routes.extend(dialect.router.routes)
    return json.dumps(app.openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(openapi(), "utf-8")
