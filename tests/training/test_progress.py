"""Progress where nobody looks at a terminal: lines, not too many."""

import pytest

from raclib.training import progress


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)


def make_bar(brief: bool) -> progress.Bar:
    return progress.progress_bar(4, "retrieval, worker 1", "step", 1, False, brief)


def test_a_log_gets_plain_lines(often, capsys):
    bar = make_bar(brief=False)
    for _ in range(4):
        bar.update(1)
    bar.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("retrieval, worker 1:   0%|") and "2/4" in lines[2]
    assert lines[-1].startswith("retrieval, worker 1: 100%|") and "4/4" in lines[-1]
    assert all(line.isprintable() for line in lines)


def test_lines_are_few(capsys):
    bar = make_bar(brief=False)
    for _ in range(4):
        bar.update(1)
    bar.close()
    first, last = capsys.readouterr().out.splitlines()
    assert "0/4" in first and "4/4" in last


def test_brief_work_is_not_worth_a_line(capsys):
    bar = make_bar(brief=True)
    bar.update(4)
    bar.close()
    assert capsys.readouterr().out == ""
