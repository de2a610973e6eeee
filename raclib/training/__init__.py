"""One training step, its loop on Ray Train workers, its schedules and checkpoints."""
