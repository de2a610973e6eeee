"""Amazon reviews whose labelling rule changes on one day."""
