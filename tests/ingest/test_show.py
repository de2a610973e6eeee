"""What is said of rows that a corpus was made without."""

from raclib.ingest.show import say_skipped


def test_skipped_rows_are_counted_by_reason():
    assert say_skipped({"num_lines": 5, "skipped": {}}) is None
    assert say_skipped({}) is None
    said = {"num_lines": 12_000, "skipped": {"rating: field required": 2, "not valid JSON": 1000}}
    assert say_skipped(said) == (
        "1,002 of 12,000 rows: not valid JSON (1,000), rating: field required (2)"
    )
    many = {"num_lines": 99, "skipped": {str(number): 1 for number in range(8)}}
    assert (
        say_skipped(many) == "8 of 99 rows: 0 (1), 1 (1), 2 (1), 3 (1), 4 (1), and 3 other reasons"
    )
