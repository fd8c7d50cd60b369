"""The APIs that the server speaks. Each translates to one internal request and back; a new one is a file and a line."""

from bakehouse.serve.dialects import (
    a1111,
    a1111_lists,
    hugging_face,
    openai,
    own,
    own_candidates,
    own_datasets,
    own_gallery,
    own_images,
    own_plans,
    own_prompts,
    own_runs,
    own_tasks,
    own_tokens,
    page,
    system,
)
from bakehouse.serve.dialects.own_dialect import OWN

OWN_ROUTES = (
    own, own_candidates, own_datasets, own_gallery, own_images, own_plans, own_prompts, own_runs, own_tasks, own_tokens,
)  # fmt: skip
"""The files that add routes to bakehouse's own API."""
DIALECTS = (
    system.SYSTEM, page.PAGE, OWN, a1111.A1111, a1111_lists.LISTS, hugging_face.HUGGING_FACE, openai.OPENAI,
)  # fmt: skip
"""In the order in which their routes are tried."""
