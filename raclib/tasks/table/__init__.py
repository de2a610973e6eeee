"""Any table of rows that have a time and a label."""
