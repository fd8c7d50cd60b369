"""What every room stands on: errors, events, files, the run folder and the spec base. No torch here."""
