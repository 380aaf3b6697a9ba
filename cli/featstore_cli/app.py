"""The ``featstore`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from featstore_cli import (
    baseline,
    check,
    doctor,
    evaluate,
    explain,
    extract,
    fit,
    predict,
    preview,
    report,
    reproduce,
    store,
    sweep,
)

app = typer.Typer(
    name="featstore",
    help="Embed histology images once, with a frozen foundation model; fit and predict as often as you like.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: laying it out with rich would double the time of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from featstore import __version__

        typer.echo(f"featstore {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Embed histology images once, with a frozen foundation model; fit and predict as often as you like."""


app.command("check", short_help="What is wrong with a dataset.", epilog=check.EXAMPLES)(check.check)
app.command("preview", short_help="Blobs, crops and repeats, drawn.", epilog=preview.EXAMPLES)(preview.preview)
app.command("extract", short_help="Images to embeddings, in a store.", epilog=extract.EXAMPLES)(extract.extract)
app.command("fit", short_help="Embeddings to a ten-fold ensemble.", epilog=fit.EXAMPLES)(fit.fit)
app.command("predict", short_help="A label for every image, as CSV.", epilog=predict.EXAMPLES)(predict.predict)
app.command("evaluate", short_help="An honest estimate of the score.", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("sweep", short_help="What more repeats or blobs would bring.", epilog=sweep.EXAMPLES)(sweep.sweep)
app.command("explain", short_help="Why an image gets its class, drawn on it.", epilog=explain.EXAMPLES)(explain.explain)
app.command("report", short_help="Data, scores and errors, as one page.", epilog=report.EXAMPLES)(report.report)
app.command("baseline", short_help="A fine-tuned network, to compare with.", epilog=baseline.EXAMPLES)(
    baseline.baseline
)
app.command("reproduce", short_help="All five systems, one table.", epilog=reproduce.EXAMPLES)(reproduce.reproduce)
app.command("doctor", short_help="What this machine can do.", epilog=doctor.EXAMPLES)(doctor.doctor)
app.add_typer(store.app, name="store")
