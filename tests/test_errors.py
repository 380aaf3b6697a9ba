"""Errors on their way to another process."""

from __future__ import annotations

import multiprocessing

import pytest

from featstore.errors import DataError, ImageError, portable


class Stubborn(Exception):  # noqa: N818 - only for here
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raised(error: Exception) -> Exception:
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise error from cause

    with pytest.raises(type(error)) as caught:
        deep(500)
    return caught.value


def through_a_pipe(error: Exception) -> Exception:
    here, there = multiprocessing.Pipe()
    with here, there:
        there.send(error)
        arrived: Exception = here.recv()
    return arrived


@pytest.mark.parametrize(
    "error", [DataError("x.png", expected="y", remedy="z."), OSError(2, "No such file"), ValueError("é")]
)
def test_it_arrives_as_it_was_without_its_frames(error):
    sent = portable(raised(error))
    assert sent.__traceback__ is sent.__cause__ is sent.__context__ is None
    arrived = through_a_pipe(sent)
    assert (type(arrived), str(arrived)) == (type(error), str(error))


@pytest.mark.parametrize("error", [ImageError("x.png", reason="unreadable"), Stubborn(1, 2), ValueError(lambda: 0)])
def test_one_that_cannot_be_built_again_arrives_at_least_in_words(error):
    arrived = through_a_pipe(portable(raised(error)))
    assert str(error) in str(arrived)
    assert type(error).__name__ in repr(arrived)
