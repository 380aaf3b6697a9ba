"""Giving out parcels and taking them back: every image is finished once, or named."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.dataset import ImageRecord
from featstore.errors import DataError, FeatstoreError
from featstore.extract.elsewhere import Parcel, embed_parcel
from featstore.extract.loader import Loaded
from featstore.extract.plan import ImageJob
from featstore.extract.spread import Spread
from featstore.extract.stages import Lanes


def jobs_of(count: int) -> list[ImageJob]:
    records = [
        ImageRecord(f"{n}", f"{n}", n, Path(f"{n}.png"), None, "", "train", "", None, "", "") for n in range(count)
    ]
    return [ImageJob(record, "train", "0", "", (0,), frozenset()) for record in records]


def made(jobs, *, took_s: float = 1.0, station: str = "a", **how: str) -> Parcel:
    return Parcel([Loaded(job) for job in jobs], how, {"encode": took_s}, took_s, Lanes(loaders=2), station)


class Stations:
    """Do parcels at once; images of ``bad`` fail whoever they are with, and ``flaky`` tells which parcels fail."""

    def __init__(self, bad: set[str] = frozenset(), flaky: random.Random | None = None, took_s: float = 1.0) -> None:
        self.bad, self.flaky, self.took_s = bad, flaky, took_s
        self.sizes: list[int] = []

    def submit(self, jobs: list[ImageJob]) -> Future[Parcel]:
        self.sizes.append(len(jobs))
        future: Future[Parcel] = Future()
        names = {job.record.image for job in jobs}
        if names & self.bad or (self.flaky and len(jobs) > 1 and self.flaky.random() < 0.3):
            future.set_exception(RuntimeError("lost"))
        else:
            future.set_result(made(jobs, took_s=self.took_s * len(jobs)))
        return future


def finish_all(stations: Stations, jobs, count: int = 2) -> tuple[Counter, set[str]]:
    """Count how often each image was finished, and name those that are set apart."""
    finished: Counter = Counter()
    failed = set()

    def finish(image: Loaded) -> None:
        finished[image.job.record.image] += 1
        if image.reason:
            assert (image.reason, image.note, image.keys) == ("failed", "RuntimeError: lost", [])
            failed.add(image.job.record.image)

    Spread(stations.submit, lambda: count).embed(jobs, finish, lambda: None)
    return finished, failed


@settings(deadline=None)
@given(st.integers(0, 60), st.sets(st.integers(0, 59), max_size=5), st.integers(0, 9), st.integers(0, 4))
def test_every_image_is_finished_once_or_set_apart(count, bad, seed, stations):
    names = {str(number) for number in bad if number < count}
    finished, failed = finish_all(Stations(names, random.Random(seed), took_s=0.1), jobs_of(count), stations)
    assert finished == Counter(map(str, range(count)))
    assert failed == names


def test_an_image_that_failed_once_is_tried_after_all_others():
    """Which may be on another machine."""
    order: list[str] = []

    def submit(jobs):
        future = Future()
        order.extend(job.record.image for job in jobs)
        if order.count("0") == 1 and jobs[0].record.image == "0":
            future.set_exception(RuntimeError("out of memory"))
        else:
            future.set_result(made(jobs))
        return future

    finished = []
    Spread(submit, lambda: 1).embed(jobs_of(6), finished.append, lambda: None)
    assert (order[0], order[-1]) == ("0", "0")
    assert len(finished) == 6
    assert not any(image.reason for image in finished)


def test_an_image_that_ends_workers_takes_no_other_with_it():
    """A scheduler suspects all that a worker had been given when it died, not only what it was at."""
    under_way = []

    def submit(jobs):
        under_way.append((jobs, Future()))
        return under_way[-1][1]

    def end():
        deadly = any(job.record.image == "1" for jobs, _ in under_way for job in jobs)
        for jobs, future in under_way:
            if deadly:
                future.set_exception(RuntimeError("one worker after another died"))
            else:
                future.set_result(made(jobs))
        under_way.clear()

    finished = []
    Spread(submit, lambda: 2).embed(jobs_of(8), finished.append, end)
    assert sorted(image.job.record.image for image in finished) == [str(number) for number in range(8)]
    assert [image.job.record.image for image in finished if image.reason] == ["1"]


def test_parcels_grow_to_ten_seconds_and_shrink_at_the_end():
    stations = Stations(took_s=0.1)
    finish_all(stations, jobs_of(2000))
    assert stations.sizes[0] == 1
    assert max(stations.sizes) == 100
    assert stations.sizes[-1] <= 2
    assert len(stations.sizes) < 80


def test_slow_images_go_one_by_one():
    stations = Stations(took_s=30.0)
    finish_all(stations, jobs_of(20))
    assert set(stations.sizes) == {1}


def test_what_stations_tell_is_put_together():
    parcels = iter([{"device": "cuda:0", "took_s": 2.0}, {"device": "cuda:1", "took_s": 3.0, "station": "b"}])

    def submit(jobs):
        future = Future()
        future.set_result(made(jobs, **next(parcels)))
        return future

    spread = Spread(submit, lambda: 2)
    spread.embed(jobs_of(2), lambda image: None, lambda: None)
    assert spread.how == {"device": "cuda:0; cuda:1"}
    assert spread.seconds == {"encode": 5.0}
    assert (spread.lanes.encoders, spread.lanes.loaders) == (2, 4)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (BrokenProcessPool("dead"), FeatstoreError),
        (CancelledError(), CancelledError),
        (DataError("x.png is not there"), DataError),
    ],
)
def test_what_concerns_all_images_ends_the_run(error, raised):
    def submit(jobs):
        future = Future()
        future.set_exception(error)
        return future

    with pytest.raises(raised):
        Spread(submit, lambda: 1).embed(jobs_of(5), lambda image: None, lambda: None)


def test_a_check_that_raises_ends_it_while_parcels_are_under_way():
    calls = iter(range(100))

    def check():
        if next(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Spread(lambda jobs: Future(), lambda: 1).embed(jobs_of(5), lambda image: None, check)


def test_a_folder_that_a_machine_does_not_see_is_no_fault_of_the_files():
    (job,) = jobs_of(1)
    away = replace(job, record=replace(job.record, path=Path("/not/here/0.png")))
    with pytest.raises(DataError, match=r"the folder of /not/here/0\.png is not there on .*every machine.*share"):
        embed_parcel("run", None, [away], 1)
