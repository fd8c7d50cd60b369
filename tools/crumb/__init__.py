"""Makes the embedded base model ``crumb``, its tagger and the example data, from nothing."""
