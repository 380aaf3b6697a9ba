"""``featstore explain``: which blob moved the decision, and where in it, drawn on the image."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from featstore_cli.options import VersionOption, check_pictures
from featstore_cli.output import JsonFlag, counted, note, plain_errors, print_json, print_lines
from featstore_cli.progress import progress_bar

if TYPE_CHECKING:
    from featstore.explain import NetworkExplainer, StoreExplainer

    Explainer: TypeAlias = StoreExplainer | NetworkExplainer

__all__ = ["EXAMPLES", "explain"]

EXAMPLES = """\b
Examples:
  featstore explain data/test_data/img_0000.png
  featstore explain ensemble.model data/test_data/img_*.png --out explanations
  featstore explain field.tif --mask field_mask.png --label "Luminal A"
  featstore explain m5.model img_0000.png --compare m4.model
  featstore explain phikon.model img_0000.png --store phikon.store --weights phikon-v2/"""

_MODEL, _STORE = Path("ensemble.model"), Path("embeddings.store")


class Views(StrEnum):
    """Heatmaps that the command draws."""

    grad_cam = "grad-cam"
    rollout = "rollout"
    both = "both"


def _interrupted(out: Path, **_: Any) -> str:
    done = f"Pictures that are finished are in {out}. " if out.is_dir() else ""
    return f"{done}Name the images that are missing to go on: the same command makes all of them again."


@plain_errors(_interrupted)
def explain(
    arguments: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MODEL] IMAGE...", help="A file that fit wrote (ensemble.model by default), and images."
        ),
    ],
    mask: Annotated[
        Path | None,
        typer.Option(help="Mask of the image.", show_default="mask_X.png beside img_X.png, else tissue on the image"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures, a PNG an image.")] = Path("explanations"),
    label: Annotated[str | None, typer.Option(help="Class to explain.", show_default="the predicted one")] = None,
    compare: Annotated[Path | None, typer.Option(metavar="MODEL", help="A second model, side by side.")] = None,
    views: Annotated[
        Views | None,
        typer.Option("--view", help="Heatmap: grad-cam, rollout, or both.", show_default="both; grad-cam to compare"),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Store that the model was fitted on: its recipe makes the crops.", show_default="embeddings.store"
        ),
    ] = None,
    store_version: VersionOption = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights (safetensors).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    compare_store: Annotated[
        Path | None, typer.Option(help="Store of the second model.", show_default="that of --store")
    ] = None,
    compare_weights: Annotated[
        Path | None,
        typer.Option(help="Encoder's weights of the second model.", show_default="those of --weights, for one store"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Draw why a model gives an image its class: a contribution for each blob, and a heatmap on the whole image.

    A blob's contribution is exact: the class's log-odds with all blobs, less those without this one. Heatmaps are
    Grad-CAM through the frozen encoder and the MLP heads of all folds, and attention rollout; an encoder without
    tokens (stain-texture) has none. Images need not be in the store.
    """
    from featstore.extras import require_extra

    started = time.perf_counter()
    model, images = _model_and_images(arguments)
    if mask is not None and len(images) > 1:
        raise typer.BadParameter(f"one mask for {len(images)} images", param_hint="--mask")
    if compare is None and (compare_store or compare_weights) is not None:
        raise typer.BadParameter("means nothing without --compare", param_hint="--compare-store, --compare-weights")
    ours, theirs = _of_store(model), compare is not None and _of_store(compare)
    shared = ours or (theirs and compare_store is None)
    _refuse_unused(
        {
            "--store": None if shared else store,
            "--store-version": None if shared else store_version,
            "--weights": None if ours or (shared and compare_weights is None) else weights,
            "--compare-store": None if theirs else compare_store,
            "--compare-weights": None if theirs else compare_weights,
        }
    )
    pictures = {image: out / name for image, name in _pictures(images).items()}
    names = [picture.name for picture in pictures.values()]
    check_pictures("--out", out, names, [model, compare, mask, store, compare_store, weights, compare_weights, *images])
    for package in ("matplotlib", "captum"):
        require_extra(package, "explain", "explanations need")
    source = _Source(store, store_version, weights)
    explainers = [_load(model, source, device)]
    if compare is not None and (compare_store or compare_weights) is None:
        explainers.append(_load(compare, source, device, explainers[0]))
    elif compare is not None:
        own_version = store_version if compare_store is None else None
        explainers.append(_load(compare, _Source(compare_store or store, own_version, compare_weights), device))
    _tell_apart(explainers, model, compare)
    done, failed = _explain_all(explainers, pictures, mask, label, _shown(views, alone=compare is None))
    seconds = round(time.perf_counter() - started, 3)
    for row in failed:
        note(f"Error: {row['reason']}")
    if as_json:
        print_json({"images": done, "failed": failed, "out": str(out), "seconds": seconds})
    else:
        print_lines(_lines(done, seconds))
    if failed:
        raise typer.Exit(1)


def _of_store(model: Path) -> bool:
    """Whether a model was fitted on a store, and is not one of fine-tuned networks."""
    from featstore.toolkit.archive import is_safetensors

    return not is_safetensors(model)


def _refuse_unused(given: Mapping[str, object]) -> None:
    """Refuse options that only models of stores have a use for."""
    if unused := [option for option, value in given.items() if value is not None]:
        raise typer.BadParameter("means nothing for fine-tuned networks", param_hint=", ".join(unused))


def _tell_apart(explainers: Sequence[Explainer], *models: Path | None) -> None:
    """Name models of one name by their folders as well."""
    if len(explainers) > len({explainer.name for explainer in explainers}):
        for explainer, path in zip(explainers, models, strict=False):
            explainer.name = str(path.with_suffix("")) if path is not None else explainer.name


def _shown(views: Views | None, *, alone: bool) -> list[str]:
    """List the heatmaps to draw: where two models are compared, one of each unless both are asked for."""
    both = views is Views.both or (views is None and alone)
    return ["grad-cam", "rollout"] if both else [str(views or Views.grad_cam)]


def _model_and_images(arguments: Sequence[Path]) -> tuple[Path, list[Path]]:
    """Tell the model from the images: it is first, if that is not an image by its name."""
    from featstore.dataset.files import is_image_name

    named = not is_image_name(arguments[0].name)
    images = list(arguments[1:] if named else arguments)
    if not images:
        raise typer.BadParameter(f"{arguments[0]} is no image by its name, and none follows", param_hint="IMAGE")
    return (arguments[0] if named else _MODEL), images


def _pictures(images: Sequence[Path]) -> dict[Path, str]:
    """Name a picture for each image: like it, and its folder as well where two images are called the same."""
    if len({image.resolve() for image in images}) < len(images):
        raise typer.BadParameter("an image is named twice", param_hint="IMAGE")
    count = Counter(image.stem for image in images)
    names = {}
    for image in images:
        both = f"{image.absolute().parent.name}-{image.name.removesuffix('.png')}"
        names[image] = f"{image.stem if count[image.stem] == 1 else both}.png"
    if len(set(names.values())) < len(names):
        raise typer.BadParameter("images of the same name in folders of the same name", param_hint="IMAGE")
    return names


@dataclass(frozen=True)
class _Source:
    """Where a store's model gets crops and embeddings from, as the user named it."""

    store: Path | None
    version: int | None
    weights: Path | None


def _load(model: Path, source: _Source, device: str, beside: Explainer | None = None) -> Explainer:
    """Open a model: fine-tuned networks, or a store's, whose encoder comes last or is that of the model beside it."""
    from featstore.cnn import load_networks
    from featstore.explain import NetworkExplainer, StoreExplainer, encoder_of
    from featstore.explain.store_models import require_same_recipe
    from featstore.store import open_store
    from featstore.toolkit import load_model

    if not _of_store(model):
        return NetworkExplainer(load_networks(model, device=device), model.stem)
    fitted, opened = load_model(model), open_store(source.store or _STORE, version=source.version)
    require_same_recipe(fitted, opened)
    if isinstance(beside, StoreExplainer):
        return StoreExplainer(fitted, opened, beside.encoder, model.stem)
    return StoreExplainer(fitted, opened, encoder_of(opened, source.weights, device), model.stem)


def _explain_all(
    explainers: Sequence[Explainer],
    pictures: Mapping[Path, Path],
    mask: Path | None,
    label: str | None,
    views: Sequence[Any],
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Explain images; return the numbers of each, and the images that can't be used, which cost only themselves."""
    from featstore.errors import DataError

    done, failed = [], []
    with progress_bar("explain") as move:
        for number, (image, picture) in enumerate(pictures.items()):
            try:
                said = _explain(explainers, image, mask, label, views, picture)
                done.append({"image": str(image), "picture": str(picture), "systems": said})
            except DataError as error:
                failed.append({"image": str(image), "reason": str(error)})
            move(number + 1, len(pictures), "images")
    return done, failed


def _explain(
    explainers: Sequence[Explainer],
    image: Path,
    mask: Path | None,
    label: str | None,
    views: Sequence[Any],
    picture: Path,
) -> list[dict[str, Any]]:
    """Explain one image by each model, draw all of it, and return the numbers."""
    from featstore.explain import draw_explanations, open_picture
    from featstore.store.disk.files import make_folder

    opened = open_picture(image, mask)
    said = [each for explainer in explainers for each in explainer.explain(opened, label, views)]
    make_folder(picture.parent)
    draw_explanations(opened.pixels, said, picture, title=image.name)
    return [each.to_dict() for each in said]


def _lines(done: Sequence[dict[str, Any]], seconds: float) -> Iterator[str]:
    for row in done:
        yield f"{row['picture']}: {row['image']}"
        told: set[tuple[str, str]] = set()
        for system in row["systems"]:
            how = f", {system['method']}" if system["method"] else ""
            hottest = system["maximum"]
            at = f", hottest at x {hottest['x']}, y {hottest['y']}" if hottest else ""
            yield f"  {system['system']}{how}: {system['label']}, probability {system['probability']:.3f}{at}"
            for text in (*_blob_lines(system), *system["notes"]):
                if (system["system"], text) not in told:  # views of one system share blobs and most notes
                    told.add((system["system"], text))
                    yield f"    {text}"
    yield f"{counted(len(done), 'image')} explained in {seconds:.1f} s"


def _blob_lines(system: dict[str, Any]) -> Iterator[str]:
    for blob in system["blobs"]:
        where = "x {} to {}, y {} to {}".format(*(blob["box"][index] for index in (0, 2, 1, 3)))
        change = f"{blob['probability_without']:.3f} without it, {blob['probability_alone']:.3f} alone"
        yield f"blob {blob['blob']} ({blob['area_px']} px, {where}): {blob['contribution']:+.2f}, {change}"
