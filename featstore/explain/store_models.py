"""Explanations of models that were fitted on a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featstore.crops import Blobs, cut_crop, find_blobs, normalise_stains
from featstore.encoders import Encoder
from featstore.encoders.model import ModelEncoder
from featstore.errors import EncoderError, FingerprintMismatchError, ModelError, SettingError
from featstore.explain.contributions import Contributions, bags_of, blob_contributions
from featstore.explain.explanation import BlobShare, Explanation, position_of
from featstore.explain.heads import mlp_heads, score_and_gradient
from featstore.explain.picture import Picture
from featstore.explain.places import lay_over, outline_of
from featstore.explain.tokens import attention_rollout, layout_of, token_grad_cam
from featstore.extract import require_encoder
from featstore.recipe import Recipe
from featstore.store import Store

__all__ = ["Seen", "StoreExplainer", "View", "require_same_recipe", "shares_of"]

View = Literal["grad-cam", "rollout"]

_METHODS = {"grad-cam": "Grad-CAM at the tokens", "rollout": "attention rollout"}
_AT_ONCE = 8
_WORTH_TELLING = 0.1


@dataclass(frozen=True, eq=False)
class Seen:
    """What an encoder sees of an image.

    Attributes
    ----------
    blobs : Blobs
    prepared : ndarray of shape (n_blobs, size, size, 3), uint8, or list of ndarray
        The clean crops as the encoder takes them.
    embeddings : ndarray of shape (n_blobs, dim), float32
    """

    blobs: Blobs
    prepared: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    embeddings: NDArray[np.float32]


class StoreExplainer:
    """Explains what a model that was fitted on a store says of images, whether or not these are in the store.

    Parameters
    ----------
    model : FoldEnsemble
    store : Store
        Whose recipe the model was fitted by: blobs, crops and embeddings are made by it.
    encoder : Encoder
        The recipe's own; loaded in float32, since gradients need the digits.
    name : str
        What people call the model.

    Raises
    ------
    FingerprintMismatchError
        If the model was fitted on embeddings of another recipe.
    RecipeMismatchError
        If the encoder, its weights for instance, is another than the recipe's.
    ModelError
        If the model was fitted on several encoders, or is no ensemble.
    SettingError
        If the recipe is not that of an extraction, or has crops of several scales.
    """

    def __init__(self, model: Any, store: Store, encoder: Encoder, name: str = "model") -> None:
        require_same_recipe(model, store)
        self.recipe = Recipe.from_dict(store.recipe)
        _require_one_scale(self.recipe, store)
        require_encoder(encoder.settings, self.recipe.encoder)
        self.model, self.store, self.encoder, self.name = model, store, encoder, name
        self.classes = [str(each) for each in model.classes_]

    def explain(
        self, picture: Picture, label: str | None = None, views: Sequence[View] = ("grad-cam",)
    ) -> list[Explanation]:
        """Explain one image.

        Parameters
        ----------
        picture : Picture
        label : str, optional
            Class to explain; by default the one that the model predicts.
        views : sequence of {"grad-cam", "rollout"}
            Heatmaps.

        Returns
        -------
        list of Explanation
            One for each view that the encoder and the model allow; else a single one without a heatmap, whose notes
            say why.

        Raises
        ------
        ImageError
            If there is no blob.
        SettingError
            If the model does not know the class.
        """
        seen = self.look(picture)
        found = blob_contributions(self.model, seen.embeddings, self.store.fingerprint)
        position = int(found.probabilities.argmax()) if label is None else position_of(label, self.classes, self.name)
        shares = shares_of(seen.blobs, found, position)
        why_not = {view: self.why_no_map(view) for view in views}
        maps: dict[View, NDArray[np.float32]] = {}
        for view in [view for view in views if not why_not[view]]:
            try:
                maps[view] = self._maps(view, seen, position, shares)
            except EncoderError as error:  # what a model does not tell shows only as it runs
                why_not[view] = f"no {_METHODS[view]}: {error.found}"
        plain = Explanation(
            system=self.name,
            label=self.classes[position],
            probability=float(found.probabilities[position]),
            probabilities=dict(zip(self.classes, found.probabilities.tolist(), strict=True)),
            blobs=shares,
            notes=(*self._notes(picture, seen), *dict.fromkeys(text for text in why_not.values() if text)),
        )
        return [self._with_heatmap(plain, view, seen, maps[view]) for view in maps] or [plain]

    def look(self, picture: Picture) -> Seen:
        """Find the blobs of an image, cut them and embed them, as the extraction did it.

        Raises
        ------
        ImageError
            If there is no blob.
        """
        blobs = find_blobs(picture.pixels, picture.mask, self.recipe.crops)
        return self.embed(normalise_stains(picture.pixels, self.recipe.stain)[0], blobs)

    def embed(self, pixels: NDArray[np.uint8], blobs: Blobs) -> Seen:
        """Cut and embed blobs that are known; the pixels, whose stains stay, may be others than they were found on."""
        crops = [self.encoder.prepare(cut_crop(pixels, blobs, blob, self.recipe.crops)) for blob in blobs.blobs]
        parts = [self.encoder.encode(crops[start : start + _AT_ONCE]) for start in range(0, len(crops), _AT_ONCE)]
        return Seen(blobs, crops if self.encoder.in_worker else np.stack(crops), np.concatenate(parts))

    def why_no_map(self, view: View) -> str:
        """Say why there is no such heatmap; empty where there is one."""
        name = self.recipe.encoder.name
        if not isinstance(self.encoder, ModelEncoder):
            return (
                f"no map within blobs: {name} describes a crop as a whole, it has no tokens; blobs have contributions"
            )
        try:
            layout = layout_of(self.encoder.running)
        except EncoderError as error:
            return f"no map within blobs: {error.found}; blobs have contributions"
        if view == "rollout" and layout.no_rollout:
            return f"no {_METHODS[view]}: {layout.no_rollout}"
        if view == "grad-cam" and not any(mlp_heads(self.model)):
            return "no Grad-CAM: the model has no MLP head with a weight, and other heads have no gradient"
        return ""

    def probabilities(self, images: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return what the model says of several images, (n_images, n_classes), from the embeddings of their blobs."""
        said = self.model.predict_proba(bags_of(images, self.store.fingerprint))
        return np.asarray(said, dtype=np.float64)

    def _with_heatmap(self, plain: Explanation, view: View, seen: Seen, maps: NDArray[np.float32]) -> Explanation:
        boxes, tissue = [blob.box for blob in seen.blobs.blobs], seen.blobs.tissue
        whole = lay_over(maps, boxes, self.recipe.crops.margin, tissue.shape)
        heat = np.where(tissue, whole, np.float32(0))
        notes = plain.notes
        if not heat.any():
            raised = any(share.contribution > 0 for share in plain.blobs)
            cold = "all heat lay outside the tissue" if whole.any() else "no token speaks for the class"
            cold = cold if raised or view == "rollout" else "no blob raises the class's odds beside the others"
            notes = (*notes, f"the map is empty: {cold}")
        elif (beside := 1 - float(heat.sum()) / float(whole.sum())) > _WORTH_TELLING:
            notes = (*notes, f"{beside:.0%} of the map lay outside the tissue, on the crops' fill, and is not drawn")
        return replace(plain, method=_METHODS[view], heatmap=heat, notes=notes)

    def _maps(self, view: View, seen: Seen, position: int, shares: Sequence[BlobShare]) -> NDArray[np.float32]:
        """Make a map of each crop; in Grad-CAM its sum is the blob's contribution, as far as that is above 0.

        Gradients tell places within a crop apart, but not which crop decided: where the answer is sure, gradients are
        small, and the largest ones are those of crops that say little. Contributions are exact.
        """
        encoder: Any = self.encoder
        running, prepared = encoder.running, np.asarray(seen.prepared)
        if view == "rollout":
            return attention_rollout(running, prepared)
        _, gradient = score_and_gradient(self.model, seen.embeddings, position, self.store.fingerprint)
        maps = token_grad_cam(running, prepared, gradient)
        sums = np.maximum(maps.sum(axis=(1, 2)), np.finfo(np.float32).tiny)
        wanted = np.array([max(share.contribution, 0.0) for share in shares])
        scaled: NDArray[np.float32] = (maps * (wanted / sums)[:, None, None]).astype(np.float32)
        return scaled

    def _notes(self, picture: Picture, seen: Seen) -> list[str]:
        notes = [seen.blobs.note] if seen.blobs.note else []
        if len(seen.blobs.blobs) == 1:
            notes.append("one blob: without it the class prior is what is left")
        if any(row.split == "train" and row.sha256 == picture.sha256 for row in self.store.images.values()):
            notes.append("a training image of the store: the model may have been fitted on it")
        return notes


def require_same_recipe(model: Any, store: Store) -> None:
    """Refuse a model that was not fitted on embeddings of a store's recipe, or is no ensemble that fit wrote."""
    if not hasattr(model, "predict_proba") or not hasattr(model, "class_prior_"):
        raise ModelError(f"a {type(model).__name__} can't be explained", expected="a model that featstore fit wrote")
    fitted = str(getattr(model, "provenance_", {}).get("fingerprint", ""))
    if "+" in fitted:
        raise ModelError(
            f"a model that was fitted on the embeddings of {fitted.count('+') + 1} encoders",
            expected="one of one encoder",
            remedy="Fit one on each store, and explain these: --compare puts two side by side.",
        )
    if fitted and fitted != store.fingerprint:
        raise FingerprintMismatchError(
            f"{store.path}: the embeddings have fingerprint {store.fingerprint}",
            expected=f"{fitted}, on which the model was fitted",
            remedy="Name the store that the model was fitted on with --store, or fit again on this one.",
        )


def _require_one_scale(recipe: Recipe, store: Store) -> None:
    """Refuse crops at several scales: these overlap, so that no blob's crop could be left out by itself."""
    if not recipe.crops.of_one_scale:
        crops = recipe.crops
        tiles = f" and tiles of {crops.tile_px} px" if crops.tile_px else ""
        raise SettingError(
            f"{store.path}: crops at scales {', '.join(map(str, crops.scales))}{tiles}, which show the same tissue "
            "several times",
            expected="a store with one crop of each blob",
            remedy="Extract one without --scales and --tiles, fit a model on it, and explain that.",
        )


def shares_of(blobs: Blobs, found: Contributions, position: int) -> tuple[BlobShare, ...]:
    """Tell of each blob what it did to the decision for a class."""
    changes = found.of(position)
    return tuple(
        BlobShare(
            blob.index,
            blob.area_px,
            blob.box,
            float(changes[number]),
            float(found.without[number, position]),
            float(found.alone[number, position]),
            outline_of(blobs, blob),
        )
        for number, blob in enumerate(blobs.blobs)
    )
