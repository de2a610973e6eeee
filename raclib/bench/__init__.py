"""What things cost: draws, fetches, memory, workers and nodes."""
