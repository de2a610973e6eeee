"""Two classes whose centres turn about each other over time."""
