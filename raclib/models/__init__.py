"""Network parts that know nothing of a task."""
