"""Looks at images before they are trained on: what is in them, how good they are, which are the same."""
