"""Writes a TorchScript network for the tests of `models`, with its output: two classes, vectors of two numbers.

usage: python3 tools/reference/torchscript.py fixtures/networks/torchscript
needs: torch, safetensors
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 8)
        self.table = torch.nn.Embedding(2, 8)
        self.last = torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, label: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        h = self.first(torch.cat([x, label[:, None]], 1)) + self.table(k)
        return self.last(torch.nn.functional.silu(h))


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
network = Network().eval()
torch.jit.script(network).save(folder / "net.ts")
x = torch.randn(3, 2, requires_grad=True)
t, k = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 1, 1])
y = network(x, t, k)
u = torch.randn(3, 2)
(vjp,) = torch.autograd.grad((y * u).sum(), x)
arrays = dict(sample=x.detach(), timestep=t, class_labels=k, vjp_vector=u, output=y.detach(), vjp=vjp.contiguous())
save_file(arrays, folder / "reference.safetensors")
(folder / "sde.toml").write_text(
    'process = { name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }\n'
    'prediction = "epsilon"\nlabel = "t"\nshape = [2]\nt_min = 0.001\nclasses = 2\n'
)
