"""What the converters share: the three files of a model."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def write_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes the weights; tensors that share memory are copied apart."""
    tensors = {name: t.detach().to(torch.float32).contiguous().clone() for name, t in tensors.items()}
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    count = sum(t.numel() for t in tensors.values())
    print(f"{folder}: {len(tensors)} tensors, {count} numbers")


def write_model(folder: Path, config: dict, meaning: str, tensors: dict[str, torch.Tensor]) -> None:
    """Writes config.json, sde.toml and the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "sde.toml").write_text(meaning)
    write_weights(folder, tensors)
