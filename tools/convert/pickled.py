"""Rewrites weights that torch.save wrote (diffusion_pytorch_model.bin) as safetensors. Nothing in the file is run.

usage: python3 tools/convert/pickled.py DIRECTORY
needs: torch, safetensors
"""

import sys
from pathlib import Path

import torch
from _write import write_weights

folder = Path(sys.argv[1])
tensors = torch.load(folder / "diffusion_pytorch_model.bin", map_location="cpu", weights_only=True)
write_weights(folder, dict(tensors))
