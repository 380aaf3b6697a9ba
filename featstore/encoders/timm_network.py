"""Networks of timm: built as their folder's config.json says, filled from safetensors, run up to the classifier."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from featstore.encoders.base import first_line, require
from featstore.encoders.quiet import quietly_timm
from featstore.encoders.running import Library
from featstore.encoders.timm_names import SCHEME, close_to, own_arguments, require_timm
from featstore.encoders.weights import CONFIG, find_weights, read_json
from featstore.errors import EncoderError

__all__ = ["TIMM", "Plan", "embedding_of", "fill_network", "is_of_timm", "read_plan"]

_WRITTEN = "a config.json as timm.models.save_for_hf writes it"


@dataclass(frozen=True)
class Plan:
    """What a config.json of timm's says.

    Attributes
    ----------
    architecture : str
    arguments : mapping of str to any
        For ``timm.create_model``: those of the file, then those that the model's page adds.
    pretrained : mapping of str to any
        What is known of the weights: ``input_size``, ``mean``, ``std``, the classifier's name.
    """

    architecture: str
    arguments: Mapping[str, Any]
    pretrained: Mapping[str, Any]

    def build(self) -> Any:
        """Make the network without its classifier and its numbers, wherever torch puts new tensors."""
        timm = require_timm()
        arguments = {key: _layer(key, value) for key, value in self.arguments.items()} | {"num_classes": 0}
        with quietly_timm(), _undrawn():
            return timm.create_model(self.architecture, pretrained_cfg=dict(self.pretrained), **arguments).eval()


def _undrawn() -> Any:
    """Make a context in which tensors are not filled with random numbers.

    A network draws a billion of them, for a minute or more, before they are overwritten with the weights.
    """
    from torch import Tensor
    from torch.overrides import TorchFunctionMode

    draws = {Tensor.normal_, Tensor.uniform_, Tensor.erfinv_}

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0] if func in draws else func(*args, **(kwargs or {}))

    return Undrawn()


def is_of_timm(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of timm's, not of transformers'."""
    return isinstance(config.get("architecture"), str) and "model_type" not in config


def read_plan(name: str, folder: Path) -> Plan:
    """Read the configuration of a folder.

    Raises
    ------
    EncoderError
        If it is not one of timm's, timm does not know its architecture, or ``name`` is that of another one.
    """
    config, timm = read_json(folder / CONFIG), require_timm()
    arguments, pretrained = config.get("model_args") or {}, config.get("pretrained_cfg", config)
    if not (is_of_timm(config) and isinstance(arguments, dict) and isinstance(pretrained, dict)):
        raise EncoderError(
            f"{folder / CONFIG} describes no model of timm's",
            expected=f"{_WRITTEN}, with architecture and pretrained_cfg",
            remedy=f"Leave {SCHEME!r} out of --encoder if it is a model of transformers.",
        )
    architecture = config["architecture"]
    if not timm.is_model(architecture):
        raise EncoderError(
            f"timm {timm.__version__} knows no architecture {architecture!r}, which {folder / CONFIG} names",
            expected=f"{close_to(architecture, timm.list_models())}or another of timm.list_models()",
            remedy="A newer timm may know it.",
        )
    if taken := sorted(arguments.keys() & _factory_options()):
        raise EncoderError(
            f"model_args in {folder / CONFIG} has {', '.join(taken)}", expected="arguments of the network, no others"
        )
    named = name.removeprefix(SCHEME).partition(".")[0]
    if timm.is_model(named) and named != architecture:
        raise EncoderError(f"{folder} holds the weights of a {architecture}", expected=f"those of a {named}")
    return Plan(architecture, {**arguments, **own_arguments(name)}, _known_keys(pretrained))


def _factory_options() -> set[str]:
    """Options of ``timm.create_model`` itself: with some of them a file could name another to be loaded."""
    return set(inspect.signature(require_timm().create_model).parameters)


def _known_keys(pretrained: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what this timm has no name for: versions of timm write more from time to time."""
    fields = require_timm().models.PretrainedCfg.__dataclass_fields__
    return {key: value for key, value in pretrained.items() if key in fields}


def _layer(key: str, value: Any) -> Any:
    """Turn the name of a layer into its class, where an argument wants one: a module of timm's or torch's, no other."""
    if not (key.endswith("_layer") and isinstance(value, str)):
        return value
    module = require("torch").nn.Module
    for place in (require_timm().layers, require("torch").nn):
        found = getattr(place, value, None)
        made = found.func if isinstance(found, partial) else found  # timm's SwiGLUPacked is a GluMlp of some settings
        if isinstance(made, type) and issubclass(made, module):
            return found
    return value  # timm knows some by names of its own, such as gelu


def load_network(name: str, folder: Path) -> Any:
    """Load the network of a folder on the CPU in float32, from safetensors only.

    Raises
    ------
    EncoderError
        If timm can't build it, or the weights are not exactly the network's, with or without a classifier.
    """
    plan = read_plan(name, folder)
    with _refused_plainly(name, folder):
        model = plan.build()
    fill_network(model, name, folder)
    return model.float()


def fill_network(model: Any, name: str, folder: Path) -> None:
    """Fill a network with the weights of a folder; one that has a classifier keeps its own.

    Raises
    ------
    EncoderError
        If the weights can't be read, or are not exactly the network's, with or without a classifier.
    """
    tensors, heads = _read_tensors(find_weights(folder)), _heads(model)
    own = {key: value for key, value in model.state_dict().items() if not (model.num_classes and key.startswith(heads))}
    told = _misfit(own, tensors, heads)
    if told:
        tensors = _renamed(model, own, tensors)
    if told and _misfit(own, tensors, heads):
        raise EncoderError(
            f"the weights of {name} in {folder} are not those of a {model.pretrained_cfg['architecture']}: {told}",
            expected="a checkpoint of that network",
        )
    model.load_state_dict({key: tensors[key] for key in own.keys() & tensors.keys()}, strict=False)


def _read_tensors(files: list[Path]) -> dict[str, Any]:
    safetensors, library = require("safetensors", "cnn"), require("safetensors.torch", "cnn")
    tensors: dict[str, Any] = {}
    for file in files:
        try:
            tensors |= library.load_file(file)
        except (OSError, safetensors.SafetensorError) as error:
            raise EncoderError(
                f"{file} can't be read ({first_line(error)})", remedy="Copy or download the folder again."
            ) from error
    return tensors


def _heads(model: Any) -> tuple[str, ...]:
    """Tell how names of a classifier's tensors start; InceptionV3's second one was there for its training alone."""
    head = model.pretrained_cfg.get("classifier")
    names = head if isinstance(head, list | tuple) else [head]
    return (*(f"{name}." for name in names if isinstance(name, str)), "AuxLogits.")


def _misfit(own: Mapping[str, Any], tensors: Mapping[str, Any], heads: tuple[str, ...]) -> str:
    """Say in what a checkpoint differs from a network; empty where it is the network's, give or take a classifier."""
    lacking = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    over = [key for key in tensors if key not in own and not key.startswith(heads)]
    other = [key for key in own if key in tensors and own[key].shape != tensors[key].shape]
    unreal = [key for key in own if key in tensors and own[key].is_floating_point() > tensors[key].is_floating_point()]
    said = {"are missing": lacking, "are left over": over, "are of another shape": other, "are no real floats": unreal}
    return ", ".join(f"{len(keys)} tensors {what}, the first {keys[0]}" for what, keys in said.items() if keys)


def _renamed(model: Any, own: Mapping[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """Have timm bring a checkpoint to the names of today: Swin's tensors, for one, were called otherwise.

    It resamples those of another size as well, which would make the weights of one network pass for another's. So all
    that the network takes is to be a tensor of the file still; else the checkpoint stays as it was, and is refused.
    """
    rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return tensors
    read = {(tensor.data_ptr(), tensor.numel()) for tensor in tensors.values()}
    try:
        found = dict(rename(dict(tensors), model))
        kept = all((found[key].data_ptr(), found[key].numel()) in read for key in own.keys() & found.keys())
    except Exception:  # noqa: BLE001 - made for other checkpoints than this, which is then refused as it is
        return tensors
    return found if kept else tensors


def embedding_of(model: Any, pixels: Any) -> Any:
    """Run the network in whatever mode torch is in: (n, 3, size, size) to (n, dim).

    What timm gives without a classifier: pooled, as the network was trained. One that pools nothing
    (``global_pool`` is empty, as of Virchow and H0-mini) gives its class token, then the mean of its patches' tokens,
    as their authors do (Zimmermann et al., 2024, arXiv:2408.00738).
    """
    found = model(pixels)
    prefix = getattr(model, "num_prefix_tokens", 0)
    if found.ndim != 3 or not prefix:
        return found
    return require("torch").cat((found[:, 0], found[:, prefix:].mean(dim=1)), dim=1)


def check_network(name: str, model: Any, pixels: Any) -> int:
    """Run the network once and return the length of its embedding.

    Raises
    ------
    EncoderError
        If it can't be run, or gives a map or tokens without one that stands for all.
    """
    try:
        with require("torch").inference_mode():
            shape = tuple(embedding_of(model, pixels).shape)
    except Exception as error:
        raise EncoderError(
            f"{name} ({type(model).__name__}) can't embed a picture of {pixels.shape[-1]} pixels in {pixels.dtype} "
            f"({first_line(error)})",
            expected="a network that takes squares of the size that its config.json names",
        ) from error
    if len(shape) != 2:
        raise EncoderError(
            f"{name} ({type(model).__name__}) answers with an array of shape {shape}",
            expected="(1, dim): a network that pools, or has a class token",
        )
    return int(shape[1])


@contextmanager
def _refused_plainly(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise EncoderError(
            f"timm {require_timm().__version__} can't load {name} from {folder} ({first_line(error)})",
            expected=f"{_WRITTEN}, with layers by their names in timm.layers or torch.nn",
        ) from error


TIMM = Library("timm", load_network, check_network, embedding_of)
"""Models whose embedding is what timm gives without a classifier."""
