"""Dataset operations: import, deduplicate, crop, clean, mask and sort images, with a history that can be undone."""
