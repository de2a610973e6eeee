"""A trained model in service: scores, what decided them, and labels taken in while it serves."""
