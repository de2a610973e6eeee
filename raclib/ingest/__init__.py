"""From any source of rows to a corpus."""
