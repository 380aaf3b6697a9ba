"""``featstore store diff``, and what ``featstore store verify --deep`` makes again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.options import nothing_changed
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines

if TYPE_CHECKING:
    from featstore.recipe import Recipe
    from featstore.store import Store
    from featstore.store.compare.cosines import CosineSummary
    from featstore.store.compare.diff import Listed, Side, StoreDiff

__all__ = [
    "DIFF_EXAMPLES",
    "DataOption",
    "DeepFlag",
    "DeviceOption",
    "MinCosineOption",
    "PrecisionOption",
    "SampleOption",
    "WeightsOption",
    "deep",
    "deep_lines",
    "diff",
]

DIFF_EXAMPLES = """\b
Examples:
  featstore store diff embeddings.store          (the newest version with the one before)
  featstore store diff cuda.store mps.store      (what the device changes)
  featstore store diff embeddings.store --version-a 1 --version-b 4 --json"""

DeepFlag = Annotated[bool, typer.Option("--deep", help="Also embed a sample again, from the images, and compare.")]
DataOption = Annotated[Path, typer.Option("--data", help="With --deep: the data that were extracted.")]
SampleOption = Annotated[int, typer.Option("--sample", min=1, help="With --deep: how many embeddings.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="With --deep: folder with the encoder's weights (safetensors).")
]
DeviceOption = Annotated[str, typer.Option("--device", help="With --deep: auto, cpu, cuda, cuda:1 or mps.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="With --deep: auto, float32, float16 or bfloat16.")]
MinCosineOption = Annotated[
    float, typer.Option("--min-cosine", min=-1, max=1, help="With --deep: a smaller cosine is a problem.")
]


@plain_errors(nothing_changed)
def diff(
    a: Annotated[Path, typer.Argument(help="A store.")] = Path("embeddings.store"),
    b: Annotated[
        Path | None, typer.Argument(help="Another store.", show_default="the same one, at another version")
    ] = None,
    version_a: Annotated[
        int | None, typer.Option(min=1, help="Version of the first.", show_default="newest, or the one before")
    ] = None,
    version_b: Annotated[int | None, typer.Option(min=1, help="Version of the second.", show_default="newest")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare two stores, or two versions of one: recipe, keys, images, labels, and the embeddings of shared keys.

    Exit 0 whether or not they differ: --json says which parts do.
    """
    from featstore.store.compare.diff import diff as compare
    from featstore.store.compare.diff import open_pair

    found = compare(*open_pair(a, b, version_a, version_b))
    if as_json:
        print_json(found.to_dict())
        return
    print_lines(_diff_lines(found))


def deep(
    store: Store,
    data: Path,
    *,
    sample: int = 32,
    weights: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    min_cosine: float = 0.999,
) -> dict[str, Any]:
    """Embed a sample of a store's keys again and compare; the encoder is the recipe's.

    Returns
    -------
    dict
        ``sample`` (embeddings compared), ``identical``, ``min``, ``mean``, ``worst`` (a key and its cosine, or None),
        ``how`` (device, precision, libraries), and ``problems``: a list of sentences, empty when all is well.
    """
    from featstore.dataset import find_dataset
    from featstore.encoders import load_encoder
    from featstore.errors import DataError
    from featstore.extract import reembed
    from featstore.store.compare.sample import check_sample, sample_keys

    wanted, dataset = _recipe(store).encoder, find_dataset(data)
    revision = wanted.revision or None if weights is None else None
    encoder = load_encoder(wanted.name, weights=weights, revision=revision, device=device, precision=precision)
    chosen = sample_keys(store, sample)
    rows = {name: store.images[name] for name in chosen.keys["image"].tolist()}
    identities, resolutions = ({name: getattr(row, fact) for name, row in rows.items()} for fact in ("identity", "mpp"))
    result: dict[str, Any] = {"sample": len(chosen.keys), "how": dict(encoder.how)}
    try:
        again = reembed(dataset, encoder, store.recipe, chosen.keys.tolist(), identities, resolutions=resolutions)
    except DataError as error:
        return {**result, "identical": 0, "min": None, "mean": None, "worst": None, "problems": [str(error)]}
    check = check_sample(store, chosen, again, min_cosine)
    worst = vars(check.worst[0]) if check.worst else None
    figures = {"identical": check.cosines.identical, "min": check.cosines.min, "mean": check.cosines.mean}
    return {**result, **figures, "worst": worst, "problems": list(check.problems)}


def _recipe(store: Store) -> Recipe:
    """Read the recipe; of embeddings from elsewhere it does not say how to make them again, or of which files."""
    from featstore.errors import SettingError
    from featstore.recipe import Recipe
    from featstore.store.compare.matching import has_digests

    remedy = "Leave --deep out: it is for stores that featstore extract made."
    try:
        recipe = Recipe.from_dict(store.recipe)
    except SettingError as error:
        raise SettingError(
            f"{store.path}: these embeddings can't be made again: {error.found}",
            expected=error.expected,
            remedy=remedy,
        ) from error
    if not has_digests(store.state.images):
        found = "has no digests of its images, so it can't be told whether the data are what was embedded"
        raise SettingError(f"{store.path}: {found}", remedy=remedy)
    return recipe


def deep_lines(result: dict[str, Any]) -> Iterator[str]:
    """Write what `deep` returned for people; problems are not among the lines."""
    from featstore.store.compare.cosines import written

    where = f"{result['how'].get('device')}, {result['how'].get('precision')}"
    yield f"{counted(result['sample'], 'embedding')} made again ({where}), {result['identical']} bit-identical"
    if result["min"] is not None:
        yield f"cosine min {written(result['min'])}, mean {written(result['mean'])}"
    if result["worst"]:
        worst = result["worst"]
        yield f"worst {worst['image']}, blob {worst['blob']}, repeat {worst['repeat']}"


def _diff_lines(found: StoreDiff) -> Iterator[str]:
    yield from (_side(name, side) for name, side in (("a", found.a), ("b", found.b)))
    yield from (f"recipe: {row['field']} is {row['a']!r} in a, {row['b']!r} in b" for row in found.recipe)
    hows = {**found.a.how, **found.b.how}
    for name in hows:
        ours, theirs = (", ".join(side.how.get(name, ["not recorded"])) for side in (found.a, found.b))
        if ours != theirs:
            yield f"computed with: {name} {ours} in a, {theirs} in b"
    for side, images, keys in (
        ("a", found.images_only_a, found.keys_only_a),
        ("b", found.images_only_b, found.keys_only_b),
    ):
        yield from _list(f"only in {side}", "image", images)
        yield from _list(f"only in {side}", "embedding", keys)
    yield from _list("other content", "image", found.content)
    if found.without_digests:
        yield f"content of images not compared, names alone: no digests in {found.without_digests}"
    for fact, rows in found.facts.items():
        yield from _list(f"other {fact.replace('_', ' ')}", "image", rows)
    yield from _cosine_lines(found)
    if found.same:
        yield "nothing differs"


def _side(name: str, side: Side) -> str:
    what = f"{counted(side.embeddings, 'embedding')} of {side.dim} numbers, {side.dtype}"
    return f"{name}: {side.store}, version {side.version}, fingerprint {side.fingerprint[:12]}, {what}"


def _list(title: str, word: str, listed: Listed) -> Iterator[str]:
    if listed:
        more = listed.count - len(listed.first)
        items = "; ".join(map(_item, listed.first)) + (f"; and {more} more" if more else "")
        yield f"{title}: {counted(listed.count, word)} ({items})"


def _item(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    if "what" in item:
        return f"{item['image']}: {item['what']}"
    if "blob" in item:
        return f"{item['image']}, blob {item['blob']}, repeat {item['repeat']}"
    return f"{item['image']}: {item['a'] or 'none'} in a, {item['b'] or 'none'} in b"


def _cosine_lines(found: StoreDiff) -> Iterator[str]:
    yield f"shared: {counted(found.shared, 'key')}"
    if found.cosines is None:
        yield f"no cosines: an embedding has {found.a.dim} numbers in a, {found.b.dim} in b"
        return
    yield from _summary_lines(found.cosines, "name" if found.without_digests else "content")
    yield from (f"worst: {key}" for key in found.worst)


def _summary_lines(cosines: CosineSummary, same: str) -> Iterator[str]:
    from featstore.store.compare.cosines import written

    yield f"compared: {counted(cosines.count, 'embedding')} of the same {same}, {cosines.identical} identical"
    if cosines.undefined:
        yield f"no cosine: {counted(cosines.undefined, 'embedding')}, one side all zeros or not finite"
    if cosines.min is not None and cosines.mean is not None:
        shares = ", ".join(f"{float(share):.4g} {written(value)}" for share, value in cosines.quantiles.items())
        yield f"cosine: min {written(cosines.min)}, mean {written(cosines.mean)}, quantiles {shares}"
        yield f"largest difference of two numbers: {cosines.largest_difference:.3g}"
