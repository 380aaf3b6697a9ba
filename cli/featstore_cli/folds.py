"""What commands that fit share: where folds are fitted, on this machine's cores or over a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featstore.evaluate import Done

__all__ = ["DaskOption", "JobsOption", "OuterFoldsOption", "fitted_at_a_time", "fitting_on", "shown_on"]

JobsOption = Annotated[int | None, typer.Option(min=1, help="Folds at a time.", show_default="cores")]
OuterFoldsOption = Annotated[int, typer.Option(min=2, help="Outer folds: each image is predicted in one of them.")]
DaskOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Fit on the Dask cluster at tcp://host:8786, or of this scheduler file."),
]


def fitted_at_a_time(jobs: int | None, dask: str | None) -> int | None:
    """Return the ``n_jobs`` of an ensemble; a cluster decides by itself.

    Raises
    ------
    typer.BadParameter
        If both are given.
    """
    from joblib import cpu_count

    if dask is None:
        return jobs or int(cpu_count())
    if jobs is not None:
        raise typer.BadParameter(
            "means nothing with --dask: the cluster has as many as its workers", param_hint="--jobs"
        )
    return None


@contextmanager
def fitting_on(dask: str | None, share: Sequence[Any]) -> Iterator[None]:
    """Fit folds on the Dask cluster at an address, which gets what they ``share`` once; on this machine without one."""
    if dask is not None:
        from featstore.cluster import spread_over

        with spread_over(dask, share=share):
            yield
        return
    from featstore_cli.workers import working_here

    with working_here():
        yield


def shown_on(move: Any) -> Any:
    """Return a callback that shows outer folds on a progress bar."""

    def show(done: Done) -> None:
        move(done.fits, done.of, "outer folds")

    return show
