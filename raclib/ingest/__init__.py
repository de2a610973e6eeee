"""From any source of rows to a corpus: sorted by time, encoded, keyed."""
