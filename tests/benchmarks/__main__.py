"""Run every benchmark; each prints a table of ratios that were measured in one run."""

from __future__ import annotations

import importlib
import os
import platform

BENCHMARKS = (
    *("startup", "store_read", "store_write", "store_append", "store_open"),
    *("augmentation", "pipeline", "dask_workers", "scale"),
    *("fitting", "notebook", "growth", "processors", "boosting", "networks"),
    *("honesty", "fusing", "public_sets", "planted", "planted_networks"),
    *("artefacts", "masks", "check"),
)


def main() -> None:
    """Print the machine and each table."""
    print(f"{platform.platform()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores\n")
    for name in BENCHMARKS:
        print(f"## {name}\n")
        importlib.import_module(f"tests.benchmarks.{name}").main()
        print()


if __name__ == "__main__":
    main()
