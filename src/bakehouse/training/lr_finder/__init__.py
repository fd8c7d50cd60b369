"""Learning-rate range test: a short training with a rising rate, and the rate that follows from it."""
