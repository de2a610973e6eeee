"""What surrounds a run: configuration, command line, cluster, places, tracking."""
