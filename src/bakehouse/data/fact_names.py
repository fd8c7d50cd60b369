"""What settings may need of the images and of the run: named here, found out by the plan."""

from bakehouse.core.setting_needs import Fact

MASKS = Fact("images.masks", "masks of the images")
ALPHA = Fact("images.alpha", "transparency in the images")
MOVABLE = Fact("images.movable_tags", "two tags to move in a caption")
CHOICES = Fact("images.choices", "{this|that} in a caption")
MARKED = Fact("images.marked", "a caption that holds this text")
UNMARKED = Fact("images.unmarked", "a caption without keep_tokens_separator")
RUN_STEPS = Fact("plan.steps", "the run's steps")
JOINED = Fact("images.joined", "a caption that holds this text")
