"""What a child writes is read by whoever has the same board, and only as what it is."""

from __future__ import annotations

import os

import pytest

from qorworker.worker import board as module
from qorworker.worker.board import Board, clear_stack, read_queries, read_stack


@pytest.fixture
def board():
    board = module.create()
    yield board
    os.close(board)


def test_queries_are_those_of_the_attempt_that_made_them(board):
    own = Board(os.dup(board))
    assert read_queries(board, 3) == (0, 0.0)
    own.write_queries(3, 7, 0.5)
    assert read_queries(board, 3) == (7, 0.5)
    assert read_queries(board, 4) == (0, 0.0)


def test_a_stack_is_read_until_it_is_cleared_and_queries_stay(board):
    Board(os.dup(board)).write_queries(1, 2, 0.25)
    for text in ("first, and longer", "second"):
        clear_stack(board)
        os.write(os.dup(board), text.encode())
        assert read_stack(board) == text
    assert read_queries(board, 1) == (2, 0.25)


def test_what_no_child_of_ours_writes_does_no_harm(board):
    clear_stack(board)
    os.write(board, b"\xff" * (1 << 18))
    assert len(read_stack(board)) <= 4 * module.STACK_BYTES
    os.pwrite(board, module.QUERIES.pack(1, 2, float("nan")), 0)
    assert read_queries(board, 1) == (0, 0.0)
    os.ftruncate(board, 0)
    assert (read_stack(board), read_queries(board, 1)) == ("", (0, 0.0))


def test_without_memory_files_it_is_a_file_that_nobody_else_finds(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    board = module.create()
    Board(os.dup(board)).write_queries(1, 2, 0.5)
    assert read_queries(board, 1) == (2, 0.5)
    assert list(tmp_path.iterdir()) == []
    os.close(board)
