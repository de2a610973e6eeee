"""What predictions are worth over time, and what they are compared with."""
