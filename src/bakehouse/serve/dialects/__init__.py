"""The APIs that the server speaks. Each translates to one internal request and back; a new one is a file and a line."""

from bakehouse.serve.dialects import (
    a1111,
    a1111_lists,
    hugging_face,
    openai,
    own,
    own_bases,
    own_blind_test,
    own_candidates,
    own_datasets,
    own_gallery,
    own_images,
    own_plans,
    own_prompts,
    own_publish,
    own_runs,
    own_shares,
    own_sliders,
    own_tasks,
    own_tokens,
    own_triggers,
    page,
    share,
    system,
)
from bakehouse.serve.dialects.own_dialect import OWN

OWN_ROUTES = (
    own, own_bases, own_blind_test, own_candidates, own_datasets, own_gallery, own_images, own_plans, own_prompts,
    own_publish, own_runs, own_shares, own_sliders, own_tasks, own_tokens, own_triggers,
)  # fmt: skip
"""The files that add routes to bakehouse's own API."""
DIALECTS = (
    system.SYSTEM, page.PAGE, share.SHARE, OWN, a1111.A1111, a1111_lists.LISTS, hugging_face.HUGGING_FACE,
    openai.OPENAI,
)  # fmt: skip
"""In the order in which their routes are tried."""
