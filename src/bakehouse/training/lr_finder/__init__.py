"""Learning-rate range test: the ramp, the validation set, the suggestion and its chart."""
