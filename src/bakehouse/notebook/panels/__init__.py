"""The panels: one for each cell of the notebook."""
