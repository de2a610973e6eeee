"""A label told by a single row of the history, which queries must learn to find."""
