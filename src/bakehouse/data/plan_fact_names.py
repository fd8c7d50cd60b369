"""Facts about the images and the run that settings may need; the plan finds them out."""

from bakehouse.core.setting_needs import PlanFact

MASKS = PlanFact("images.masks", "masks of the images")
ALPHA = PlanFact("images.alpha", "transparency in the images")
MOVABLE = PlanFact("images.movable_tags", "two tags to move in a caption")
CHOICES = PlanFact("images.choices", "{this|that} in a caption")
MARKED = PlanFact("images.marked", "a caption that contains keep_tokens_separator")
UNMARKED = PlanFact("images.unmarked", "a caption without keep_tokens_separator")
RUN_STEPS = PlanFact("plan.steps", "the run's steps")
JOINED = PlanFact("images.joined", "a caption that contains secondary_separator")
