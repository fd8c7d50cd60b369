"""Make the built-in base model ``crumb``, its tagger and the example data from scratch."""
