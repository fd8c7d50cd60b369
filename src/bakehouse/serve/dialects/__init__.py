"""The APIs that the server speaks. Each translates to one internal request and back; a new one is a file and a line."""

from bakehouse.serve.dialects import (
    a1111,
    a1111_lists,
    hugging_face,
    openai,
    own,
    own_dialect,
    own_gallery,
    own_recall,
    page,
    system,
)

DIALECTS = (
    system.SYSTEM,
    page.PAGE,
    own_dialect.OWN,
    a1111.A1111,
    a1111_lists.LISTS,
    hugging_face.HUGGING_FACE,
    openai.OPENAI,
)
"""In the order in which their routes are tried."""
