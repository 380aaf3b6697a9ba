"""What a machine with a GPU can do: parity of the precisions, speed of the bare model and of the whole pipeline.

Without the weights of Phikon-v2 it takes a model of that shape with random ones. It runs on a CPU too, on less work.
Exit 1 if parity is broken. One device is looked at: the first GPU, or the one that ``--device`` names.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

from featstore.encoders import EncodeQueue, ModelEncoder, encode_queue, load_encoder, weights_present
from featstore.encoders.base import Floats, Pixels, require
from featstore.encoders.checkpoints import last_hidden_state
from featstore.encoders.device import PRECISIONS, resolve_device, usable_devices
from featstore.encoders.precision import LEAST_COSINE, least_cosine, probe_pictures
from featstore.encoders.quiet import quietly
from featstore.errors import EncoderError, FeatstoreError
from featstore.extract.stages import LOADING, STAGES
from tests.benchmarks.generated import write_model
from tests.benchmarks.gpu_runs import REPEATS, Bare, Run, runs_in_turn

NEEDED = {"float32": 0.99999, "float16": LEAST_COSINE, "bfloat16": LEAST_COSINE}
REACH_RATIO, REACH_PER_S = 0.95, 3000
IMPOSSIBLE = 1.05
"""No pipeline is so much faster than the model in it: where one pair says so, other programs disturbed the runs."""

PICTURES, PICTURES_CPU = 16, 4

PARITY = """{} pictures, against what transformers alone makes of them one by one in float32 on the CPU.
The precision as chosen goes through the pipeline's queue.
"""

HOW = f"""Bare and pipeline in turn, bare before and after each of {{runs}} runs, both with {{batch}} crops at once.
Bare: {{crops}} crops, which are on the device as pixels, are normalised and embedded; until the last embedding is back.
Pipeline: {{computed}} embeddings in {{seconds:.1f}} s; images: {{images}}, PNG of 1400 x 1024 px, {REPEATS} repeats.
It is timed from the first crop asked for until the last embedding is committed to the store and the loaders have ended.
Not timed: hashing the files, loading the model, starting the loaders. The files are in the system's cache.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 0 if parity held, else 1."""
    options = _options(arguments)
    device = resolve_device(options.device)
    with tempfile.TemporaryDirectory() as name:
        encoder, weights = _load(Path(name) / "model", options.weights, device)
        say(_machine(encoder, weights))
        queue = encode_queue(encoder)
        parity, held = _parity(encoder, queue, count := PICTURES_CPU if device == "cpu" else PICTURES)
        say("## Parity\n", PARITY.format(count), parity)
        bare = Bare(encoder, queue.limit)
        del queue  # and its page-locked memory
        runs = runs_in_turn(encoder, bare, Path(name), images=options.images, seconds=options.seconds)
    say("## Throughput\n", _throughput(runs, bare))
    say("## Utilisation\n", _utilisation(runs, device))
    say("## Stages\n", _stages(sorted(runs, key=lambda run: run.ratio)[(len(runs) - 1) // 2]))
    say(_verdict(runs, dict(usable_devices())[device] if device != "cpu" else "a CPU", held))
    return 0 if held else 1


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--images", type=int, help="images in a run of the pipeline; by default, what --seconds asks")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long the bare model is to take for them")
    parser.add_argument("--weights", type=Path, help="folder of a model to take, instead of Phikon-v2's own weights")
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or (options.images is not None and options.images < 1):
        parser.error("--images and --seconds must be above 0")
    return options


def _load(folder: Path, weights: Path | None, device: str) -> tuple[ModelEncoder, str]:
    """Load the model, and tell which weights it has."""
    told = "those of --weights" if weights else "Phikon-v2's own"
    if weights is None and not weights_present("phikon-v2"):
        weights, told = folder, "random, in Phikon-v2's shape"
        with quietly():
            write_model(folder, "ViT-L")
    encoder = load_encoder("phikon-v2", weights=weights, device=device)
    assert isinstance(encoder, ModelEncoder)
    encoder.start()
    return encoder, told


def _machine(encoder: ModelEncoder, weights: str) -> str:
    torch, cv2 = require("torch"), require("cv2")
    cuda = f", CUDA {torch.version.cuda}" if torch.version.cuda else ""
    trial = encoder.how.get("precision_trial", "nothing was tried")
    rows = [
        ("device", encoder.how["device"]),
        ("GPUs", ", ".join(name for device, name in usable_devices() if device != "cpu") or "none"),
        ("CPU", f"{_cpu()}, {cpu_count()} cores"),
        ("torch", torch.__version__ + cuda),
        ("transformers", encoder.how["transformers"]),
        ("OpenCV", cv2.__version__),
        ("weights", weights),
        ("precision chosen", f"{encoder.running.precision} ({trial})"),
    ]
    return table(("machine", ""), rows)


def _cpu() -> str:
    with suppress(OSError):
        if found := re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()


def _parity(encoder: ModelEncoder, queue: EncodeQueue, count: int) -> tuple[str, bool]:
    """Compare every precision with float32 on the CPU; the chosen one goes through the queue of the pipeline."""
    pictures = probe_pictures(count, encoder.settings.input_size_px)
    expected, chosen = _literally(encoder, pictures), encoder.running.precision
    whole = encoder if chosen == "float32" else replace(encoder, wanted_precision="float32", _running=None)
    rows, held = [], True
    for precision in PRECISIONS:
        try:
            found = _queued(queue, pictures) if precision == chosen else _embedded(whole, precision, pictures)
            cosine, why = least_cosine(found, expected), ""
        except (RuntimeError, EncoderError) as error:
            cosine, why = -1.0, f" ({str(error).splitlines()[0]})"
        fine, counts = cosine >= NEEDED[precision], precision in (chosen, "float32")
        held = held and (fine or not counts)
        told = "held" if fine else "broken" if counts else "not held, and not chosen"
        rows.append((precision + ", as chosen" * (precision == chosen), f"{cosine:.7f}", NEEDED[precision], told + why))
    wrong = least_cosine(np.roll(expected, 1, axis=0), expected)
    told = "differ" if (differ := wrong < LEAST_COSINE) else "broken: a wrong order would not show"
    rows.append(("float32, pictures in a wrong order", f"{wrong:.7f}", f"below {LEAST_COSINE}", told))
    return table(("precision", "least cosine", "needed", "parity"), rows), held and differ


def _literally(encoder: ModelEncoder, pictures: Pixels) -> Floats:
    """Embed with nothing of featstore's normalising and batching, and plain attention."""
    torch, transformers = require("torch"), require("transformers")
    with quietly():
        model = transformers.AutoModel.from_pretrained(
            str(encoder.folder), attn_implementation="eager", use_safetensors=True, local_files_only=True
        )
    model = model.float().eval()
    inputs = (pictures / 255 - np.array(encoder.settings.mean)) / np.array(encoder.settings.std)
    tensors = torch.from_numpy(inputs.transpose(0, 3, 1, 2).astype(np.float32))
    return np.concatenate([last_hidden_state(model, one[None])[:, 0].numpy() for one in tensors])


def _queued(queue: EncodeQueue, pictures: Pixels) -> Floats:
    """Embed in small batches, as many of them under way as the queue takes, so that its memory is used again."""
    rows, count = [], min(2, len(queue.buffer()))
    for start in range(0, len(pictures), count):
        some = pictures[start : start + count]
        queue.buffer()[: len(some)] = some
        queue.submit(len(some))
        while queue.in_flight > queue.depth:
            rows.append(queue.collect())
    rows += [queue.collect() for _ in range(queue.in_flight)]
    return np.concatenate(rows)


def _embedded(whole: ModelEncoder, precision: str, pictures: Pixels) -> Floats:
    running = whole.running if precision == "float32" else whole.running.in_precision(precision)
    rows: Floats = running.embed(require("torch").from_numpy(pictures)).cpu().numpy()
    return rows


def _throughput(runs: Sequence[Run], bare: Bare) -> str:
    rows = [
        ("bare model, embeddings/s", *_spread([run.bare for run in runs], ",.2f"), ""),
        ("whole pipeline, embeddings/s", *_spread([run.rate for run in runs], ",.2f"), f"{REACH_PER_S:,} on an H200"),
        ("pipeline / bare, pair by pair", *_spread([run.ratio for run in runs], ".3f"), f"at least {REACH_RATIO}"),
    ]
    one = runs[0].result
    how = HOW.format(
        runs=len(runs),
        batch=bare.batch,
        crops=bare.batches * bare.batch,
        images=one.images,
        computed=one.computed,
        seconds=_middle(run.seconds for run in runs),
    )
    return table(("what", "median", "range", "reach"), rows) + "\n" + how


def _utilisation(runs: Sequence[Run], device: str) -> str:
    clock = "CUDA events" if device.startswith("cuda") else "this process's clock"
    encoding = [100 * run.result.stages["encode"] / run.seconds for run in runs]
    rows = [(f"encoding, by {clock}, over the pipeline's time", *_spread(encoding, ".1f"))]
    if samples := [sample for run in runs for sample in run.samples]:
        rows.append((f"utilization.gpu of nvidia-smi, {len(samples)} samples", *_spread(samples, ".0f")))
    if device == "cpu":
        busy = [100 * run.cpu_s / run.seconds / cpu_count() for run in runs]
        rows.append(("processor time of this process, loaders apart, over cores x time", *_spread(busy, ".1f")))
    return table(("share, %", "median", "range"), rows)


def _stages(run: Run) -> str:
    lanes = dict.fromkeys(LOADING, run.lanes.loaders) | dict.fromkeys(("transfer", "encode"), run.lanes.encoders)
    rows = []
    for stage in STAGES:
        seconds, processes = run.result.stages.get(stage, 0.0), lanes.get(stage, 1)
        rows.append((stage, f"{seconds:.2f}", processes, f"{100 * seconds / max(1, processes) / run.seconds:.1f}"))
    found = run.result.bottleneck
    told = f"The others waited for: {found.stage} ({found.share:.0%} of its lane). {found.advice}\n" if found else ""
    heads = ("stage", "s, summed over processes", "processes", "% of the time of each")
    of = f"Of the run with the middle ratio, of two that with the lower: {run.seconds:.1f} s.\n"
    return f"{of}\n{table(heads, rows)}\n{told}"


def _verdict(runs: Sequence[Run], name: str, held: bool) -> str:
    ratio, rate = _middle(run.ratio for run in runs), _middle(run.rate for run in runs)
    doubtful = max(run.ratio for run in runs) > IMPOSSIBLE
    shared = f"{'in doubt' if doubtful else _met(ratio >= REACH_RATIO)} ({ratio:.3f})"
    here = f"{_met(rate >= REACH_PER_S)} ({rate:.0f})" if re.search(r"\bH200\b", name) else f"not measured, on {name}"
    parity = "held" if held else "broken"
    return f"Parity: {parity}. {REACH_RATIO} of the bare model: {shared}. {REACH_PER_S:,}/s on an H200: {here}."


def _met(met: bool) -> str:
    return "met" if met else "missed"


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def _spread(values: Sequence[float], form: str) -> tuple[str, str]:
    return format(_middle(values), form), f"{min(values):{form}} to {max(values):{form}}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FeatstoreError as error:
        sys.exit(f"Error: {error}")
