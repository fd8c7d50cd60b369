"""Images for a dataset, drawn by a model that learned its subject: what it lacks, drawing, judging, a yes or no."""
