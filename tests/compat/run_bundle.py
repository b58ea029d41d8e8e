"""Run in another environment than the tests: a bundle's variants through ``edgeml_runtime.Model``.

``python run_bundle.py BUNDLE ITEMS.npz OUT VARIANT…`` tests each variant with its golden vectors, predicts every item,
and writes ``OUT/VARIANT.npz`` (output name → [n, *shape]). It prints one JSON object: ``package`` and ``version`` of
the backend, and ``variants``: id → what the self-test found; where the variant is refused, ``error``, and the outputs
are those that the backend gives without the refusal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from edgeml_runtime import BackendUnsuitableError, Model
from edgeml_runtime.backends import load_backend
from edgeml_runtime.bundle import Bundle


def run(bundle, variant, items, out):
    try:
        model = Model.load(bundle, variant=variant)
    except BackendUnsuitableError as error:
        np.savez(out / f"{variant}.npz", **run_refused(bundle, variant, items))
        return {"error": str(error)}
    with model:
        results = [result.outputs for result in model.predict_batch(items)]
        np.savez(
            out / f"{variant}.npz", **{name: np.stack([result[name] for result in results]) for name in results[0]}
        )
        return model.self_test().to_dict()


def run_refused(path, variant_id, items):
    with Bundle.open(path) as bundle:
        variant = next(variant for variant in bundle.manifest.variants if variant.id == variant_id)
        backend = load_backend(variant.backend).create(
            bundle.read(variant.file),
            input_names=list(variant.inputs.values()),
            output_names=list(variant.outputs.values()),
            threads=1,
        )
    count = len(next(iter(items.values())))
    rows = [backend.run([items[name][item : item + 1] for name in variant.inputs]) for item in range(count)]
    return dict(zip(variant.outputs, map(np.concatenate, zip(*rows, strict=True)), strict=True))


def main(bundle, items, out, *variants):
    backend = load_backend("litert")
    with np.load(items) as stored:
        arrays = dict(stored)
    answer = {
        "package": backend.installed_package(),
        "version": backend.installed_version(),
        "variants": {variant: run(bundle, variant, arrays, Path(out)) for variant in variants},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
