"""Trainings behind HTTP: planned by a helper process, queued, run by the queue's scheduler, watched by their files."""
