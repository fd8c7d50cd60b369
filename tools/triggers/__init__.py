"""Does a trigger absorb what `bakehouse triggers explain` says? Trained, drawn and measured on crumb."""
