"""The workspace limit: its default, its settings, and what is refused."""

import threading

import pytest

from fimo_fast.utils.memory import rows_within, workspace

MIB = 2**20


@pytest.mark.parametrize("share, size", [(1, 512 * MIB), (1 / 2, 256 * MIB), (1 / 8, 64 * MIB)])
def test_the_default_is_512_mib(monkeypatch, share, size):
    monkeypatch.delenv("FIMO_FAST_WORKSPACE_MB", raising=False)
    assert rows_within(1, share) == size
    assert rows_within(1000, share) == size // 1000
    assert rows_within(size, share) == 1


def test_one_row_is_always_taken():
    assert rows_within(2**60, 1 / 2) == 1
    with workspace(1):
        assert rows_within(1, 1 / 8) == 1


def test_rows_of_no_bytes_count_as_one_byte():
    with workspace(10):
        assert rows_within(0, 1) == 10


def test_the_environment_sets_it(monkeypatch):
    monkeypatch.setenv("FIMO_FAST_WORKSPACE_MB", "3")
    assert rows_within(MIB, 1) == 3
    with workspace(2 * MIB):  # stronger
        assert rows_within(MIB, 1) == 2


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "1e3", "²"])
def test_a_wrong_environment_is_refused(monkeypatch, text):
    monkeypatch.setenv("FIMO_FAST_WORKSPACE_MB", text)
    with pytest.raises(ValueError, match=r"FIMO_FAST_WORKSPACE_MB: expected a whole number of MiB, at least 1, got '"):
        rows_within(1, 1)


def test_blocks_are_nested_and_end_with_an_exception():
    outside = rows_within(1, 1)
    with workspace(100):
        with pytest.raises(KeyError), workspace(10):
            assert rows_within(1, 1) == 10
            raise KeyError
        assert rows_within(1, 1) == 100
    assert rows_within(1, 1) == outside


def test_a_block_is_of_its_own_thread():
    found = []
    with workspace(10):
        thread = threading.Thread(target=lambda: found.append(rows_within(1, 1)))
        thread.start()
        thread.join()
        assert rows_within(1, 1) == 10
    assert found == [rows_within(1, 1)]


@pytest.mark.parametrize("size, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("512", TypeError)])
def test_a_wrong_size_is_refused(size, error):
    with pytest.raises(error, match="workspace: expected"), workspace(size):
        pass
