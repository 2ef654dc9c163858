"""Opens checkpoints that this library saved with diffusers, and compares the outputs with those of the originals.

usage: SAVE_TO=$PWD/target/saved cargo test -p models --test networks -- --ignored saved_for_the_reference
       python3 tools/reference/reads_ours.py target/saved
needs: torch 2.12.1, diffusers 0.42.1, safetensors
"""

import sys
from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file

torch.set_num_threads(1)
failed = 0
for folder in sorted(p for p in Path(sys.argv[1]).iterdir() if p.is_dir()):
    model, report = UNet2DModel.from_pretrained(folder, output_loading_info=True)
    reference = load_file(folder / "reference.safetensors")
    with torch.no_grad():
        found = model.eval()(reference["sample"], reference["timestep"], reference.get("class_labels")).sample
    expected = reference["output"]
    off = ((found - expected).abs().flatten(1).amax(1) / expected.abs().flatten(1).amax(1)).max().item()
    complaints = {key: value for key, value in report.items() if value}
    fine = off < 2e-5 and not complaints
    failed += not fine
    print("ok    " if fine else "FAILED", folder.name, f"{off:.1e}", complaints or "")
sys.exit(failed > 0)
