"""The process that measures ceilings: ``python -P -m edgeml_devices.ceilings_child THREADS ROUNDS MEMORY_BYTES``.

A process of its own, because the linear algebra behind numpy takes its number of threads from the environment, once.
Prints one JSON object: per kernel its rate in every round, and in words what was done.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_devices.ceilings_model import int8_product
from edgeml_runtime.backends import installed_backend_version, load_backend
from edgeml_runtime.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["buffer_bytes", "last_cache_bytes", "main"]

MIB = 1 << 20
LEAST_BUFFER = 64 * MIB
SIZE = 512
"""Rows of the matrices: 512³ products take a Cortex-A53 about 30 ms, and three float matrices lie in 3 MiB."""
ROUND_S = 0.02
WARM_UP_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernel:
    """Something that is timed: one call does ``units`` of 10⁹ units."""

    name: str
    how: str
    units: float
    call: Callable[[], object]


def last_cache_bytes(root: Path = Path("/")) -> int:
    """Size of the largest cache that the first CPU can use, or 0 where the system does not say.

    Args:
        root: Folder in which ``sys`` lies.
    """
    sizes = [0]
    for file in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text(encoding="ascii", errors="replace").strip()
        scale = {"K": 1 << 10, "M": MIB}.get(text[-1:], 1)
        digits = text.rstrip("KM")
        if digits.isdigit():
            sizes.append(int(digits) * scale)
    return max(sizes)


def buffer_bytes(cache_bytes: int, memory_bytes: int) -> int:
    """How much to copy at once: four times the last cache, but no more than a sixteenth of the memory.

    With less than four times the cache, a part of the traffic never reaches the memory (McCalpin, STREAM benchmark, run
    rules).

    Args:
        cache_bytes: Size of the last cache.
        memory_bytes: Memory this process may use.

    Returns:
        A multiple of a MiB, at least one.
    """
    wanted = max(LEAST_BUFFER, 4 * cache_bytes)
    return max(MIB, min(wanted, memory_bytes // 16) // MIB * MIB)


def _slices(total: int, parts: int) -> Iterator[tuple[int, int]]:
    """Start and length of ``parts`` pieces."""
    edges = [total * index // parts for index in range(parts + 1)]
    return ((low, high - low) for low, high in pairwise(edges))


def _memory_kernels(threads: int, memory_bytes: int) -> list[_Kernel]:
    """The C library's own ``memcpy`` and ``memset``, which let go of the interpreter's lock."""
    cache = last_cache_bytes()
    size = buffer_bytes(cache, memory_bytes)
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    at, to = source.ctypes.data, target.ctypes.data
    pieces = list(_slices(size, threads))
    pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def spread(work: Callable[[int, int], object]) -> Callable[[], object]:
        if pool is None:
            return lambda: work(0, size)
        return lambda: list(pool.map(lambda piece: work(*piece), pieces))

    def copy(low: int, length: int, _keep: Any = (source, target)) -> object:
        return ctypes.memmove(to + low, at + low, length)

    def fill(low: int, length: int, _keep: Any = target) -> object:
        return ctypes.memset(to + low, 7, length)

    near = f", less than four times the last cache of {cache / MIB:.0f} MiB" if size < 4 * cache else ""
    what = f"of {size // MIB} MiB{near}"
    return [
        _Kernel(name="memcpy_gb_per_s", how=f"memcpy {what}, bytes copied", units=size / 1e9, call=spread(copy)),
        _Kernel(name="memset_gb_per_s", how=f"memset {what}", units=size / 1e9, call=spread(fill)),
    ]


def _blas() -> str:
    """The library numpy multiplies with, as it was built."""
    config: Any = np.show_config(mode="dicts")
    found = (config or {}).get("Build Dependencies", {}).get("blas", {})
    return str(found.get("name") or "its own loops")


def _float_kernel() -> _Kernel:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, SIZE, SIZE), dtype=np.float32)
    out: NDArray[np.float32] = np.empty((SIZE, SIZE), np.float32)
    return _Kernel(
        name="fp32_gmac_per_s",
        how=f"product of two {SIZE} × {SIZE} matrices in numpy {np.__version__} ({_blas()})",
        units=SIZE**3 / 1e9,
        call=lambda: np.matmul(left, right, out=out),
    )


def _int8_kernel(threads: int) -> _Kernel | None:
    """The same in 8-bit integers by ONNX Runtime, or None where it is not installed or cannot."""
    version = installed_backend_version("onnxruntime")
    if version is None:
        return None
    try:
        session = load_backend("onnxruntime").create(
            int8_product(SIZE), input_names=["a"], output_names=["c"], threads=threads
        )
    except BackendError:
        return None
    values = [np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)]
    return _Kernel(
        name="int8_gmac_per_s",
        how=f"MatMulInteger of two {SIZE} × {SIZE} matrices, uint8 × int8, in onnxruntime {version}",
        units=SIZE**3 / 1e9,
        call=lambda: session.run(values),
    )


def _repeat(kernel: _Kernel, seconds: float) -> float:
    """Call until ``seconds`` have passed, at least once; the rate in 10⁹ units per second."""
    calls, begin, limit = 0, time.perf_counter_ns(), seconds * 1e9
    while True:
        kernel.call()
        calls += 1
        elapsed = time.perf_counter_ns() - begin
        if elapsed >= limit:
            return calls * kernel.units / (elapsed / 1e9)


def main(arguments: list[str]) -> int:
    """Measure and print.

    Args:
        arguments: Threads, rounds, and the memory this process may use in bytes.

    Returns:
        The exit status.
    """
    threads, rounds, memory_bytes = map(int, arguments)
    kernels = [*_memory_kernels(threads, memory_bytes), _float_kernel()]
    integer = _int8_kernel(threads)
    kernels += [] if integer is None else [integer]
    for kernel in kernels:
        _repeat(kernel, WARM_UP_S)
    rates: dict[str, list[float]] = {kernel.name: [] for kernel in kernels}
    order = random.Random(0)
    for _ in range(rounds):
        for kernel in order.sample(kernels, len(kernels)):
            rates[kernel.name].append(_repeat(kernel, ROUND_S))
    answer = [{"name": kernel.name, "how": kernel.how, "rates": rates[kernel.name]} for kernel in kernels]
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
