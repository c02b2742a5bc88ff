"""Both benchmarks on a 0.5B-parameter random-weight Qwen2 model in bf16 on one GPU, in a few minutes.

    python benchmarks/gpu_qwen2_half_b.py [--json] [--rounds 3]

A part that fails is reported and the others go on. `--device cpu --dtype float32 --model tiny` tries the same code.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sample_vs_generate, train_vs_trl
from benchmarks._harness import Claim, arguments, parse, report
from benchmarks._models import model_dir


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.set_defaults(device="cuda", dtype="bfloat16", rounds=3)
    options = parse(parser)
    claims: list[Claim] = []
    notes: list[str] = [_machine(options.device)]
    for model in options.model or ["0.5b"]:
        model_dir(model)
        parts = {
            "sampling": lambda model=model: sample_vs_generate.measure(
                sample_vs_generate.PLANS[model], device=options.device, dtype=options.dtype, rounds=options.rounds
            ),
            "training": lambda model=model: train_vs_trl.measure(
                train_vs_trl.PLANS[model],
                device=options.device,
                dtype=options.dtype,
                rounds=options.rounds,
                tolerance=train_vs_trl.TOLERANCE if options.dtype == "float32" else train_vs_trl.BF16_TOLERANCE,
            ),
        }
        for part, measure in parts.items():
            started = time.monotonic()
            try:
                found, said = measure()
            except Exception as error:  # noqa: BLE001 - each part stands by itself, and says why it has no figure
                traceback.print_exc()
                notes.append(f"{part} failed: {error!s:.600}")
                continue
            claims, notes = claims + found, notes + said
            notes.append(f"{part}: {time.monotonic() - started:.0f} s altogether")
    if options.json:
        print(json.dumps({"claims": [asdict(claim) for claim in claims], "notes": notes}, indent=1))
        return 0 if claims and all(claim.holds for claim in claims) else 1
    return report(claims, notes, as_json=False)


def _machine(device: str) -> str:
    import torch
    import transformers

    name = torch.cuda.get_device_name() if device != "cpu" else "CPU"
    return f"{name}, torch {torch.__version__}, transformers {transformers.__version__}"


if __name__ == "__main__":
    sys.exit(main())
