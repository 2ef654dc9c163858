"""Training steps of the same U-Net here and in PyTorch eager (diffusers' UNet2DModel), back to back on this machine.

    python benches/peers/train.py --sde target/release/sde [--threads 1] [--rounds 3] [--dtype bf16]

Both sides do the same step: uniform dequantisation, strata of times, noise, EDM's input and target under a VP process,
forward, backward, a gradient cut to norm 6, AdamW, an exponential average of the weights. Rounds alternate; the best
window of ten steps counts, and the largest peak of memory (ru_maxrss of the process).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

NETWORKS = {
    "digits, [64, 64], batch 64": dict(
        shape=(1, 8, 8), batch=64, levels=17, steps=60,
        network=dict(
            down_block_types=["DownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "UpBlock2D"],
            block_out_channels=[64, 64], layers_per_block=1, norm_num_groups=8,
            attention_head_dim=8, dropout=0.15, resnet_time_scale_shift="scale_shift",
        ),
    ),
    "3 × 32 × 32, [64, 128, 128], batch 16": dict(
        shape=(3, 32, 32), batch=16, levels=256, steps=20,
        network=dict(
            down_block_types=["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
            block_out_channels=[64, 128, 128], layers_per_block=2, norm_num_groups=32,
            attention_head_dim=8, dropout=0.1,
        ),
    ),
}
WINDOW = 10


def toml(value):
    return json.dumps(value)


def write_config(folder, case, dtype):
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, case["levels"], (512, *case["shape"]), dtype=np.uint8)
    np.save(folder / "data.npy", pixels)
    np.save(folder / "validation.npy", pixels[:8])
    network = "\n".join(f"{key} = {toml(value)}" for key, value in case["network"].items())
    (folder / "train.toml").write_text(f"""
out = "run"
seed = 0
[data]
train = "data.npy"
validation = "validation.npy"
levels = {case["levels"]}
[model]
process = {{ name = "vp-linear", beta_min = 0.1, beta_max = 20.0 }}
prediction = {{ edm = {{ sigma_data = 0.8 }} }}
label = "c-noise"
t_min = 1e-5
[network]
{network}
[training]
steps = {case["steps"]}
batch = {case["batch"]}
learning_rate = 1e-3
warmup = 10
dtype = {toml(dtype)}
betas = [0.9, 0.99]
weight_decay = 0.0
clip = 6.0
ema = 0.999
weighting = "likelihood"
times = "log-snr"
validate_every = 1000000
checkpoint_every = 1000000
report_every = {WINDOW}
""")


def child(command, folder):
    """Runs a command; the peak of its memory in MiB."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(err)
    return out, usage.ru_maxrss / 1024


def ours(sde, threads, dtype, case):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder, case, dtype)
        _, peak = child([sde, "train", "train.toml", "--threads", str(threads), "--quiet"], folder)
        lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
        # the last window has the look at the validation data behind it, not in it
        return max(line["speed"] for line in lines), peak


def theirs(threads, dtype, name):
    command = [sys.executable, __file__, "--child", name, "--threads", str(threads), "--dtype", dtype]
    out, peak = child(command, ".")
    return float(out), peak


def torch_loop(threads, dtype, case):
    import time

    import torch
    from diffusers import UNet2DModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    channels, size = case["shape"][0], case["shape"][1]
    net = UNet2DModel(sample_size=size, in_channels=channels, out_channels=channels, **case["network"]).train()
    parameters = list(net.parameters())
    average = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    data = torch.randint(0, case["levels"], (512, *case["shape"]))
    batch, levels, s = case["batch"], case["levels"], 0.8
    low, high = -10.05, 13.8  # log-SNR at t = 1 and 1e-5

    def step():
        rows = torch.randint(0, len(data), (batch,))
        x0 = 2 * (data[rows] + torch.rand(batch, *case["shape"])) / levels - 1
        u = (torch.arange(batch) + torch.rand(1)) / batch
        log_snr = low + (high - low) * u
        alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        n = (sigma**2 + s**2 * alpha**2).sqrt()
        view = lambda c: c[:, None, None, None]
        eps = torch.randn_like(x0)
        x = (view(alpha) * x0 + view(sigma) * eps) / view(n)
        y = view(sigma / (s * n)) * x0 - view(s * alpha / n) * eps
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
            output = net(x, 0.25 * (sigma / alpha).log()).sample.float()
        weight = (high - low) / 2 * (s * alpha / n) ** 2
        loss = (weight * (output - y).square().mean(dim=(1, 2, 3))).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 6.0)
        optimiser.step()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1e-3)
        return loss.item()

    best = 0.0
    for _ in range(case["steps"] // WINDOW):
        start = time.perf_counter()
        for _ in range(WINDOW):
            step()
        best = max(best, WINDOW * batch / (time.perf_counter() - start))
    print(best)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sde", default="target/release/sde")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--child")
    args = parser.parse_args()
    if args.child:
        torch_loop(args.threads, args.dtype, NETWORKS[args.child])
        return
    sde = str(Path(args.sde).resolve())
    print(f"{args.dtype}, {args.threads} thread(s), images/s of a training step, peak MiB")
    for name, case in NETWORKS.items():
        rounds = [
            (ours(sde, args.threads, args.dtype, case), theirs(args.threads, args.dtype, name))
            for _ in range(args.rounds)
        ]
        (a, m), (b, n) = [
            (max(r[i][0] for r in rounds), max(r[i][1] for r in rounds)) for i in range(2)
        ]
        print(f"{name:40} sde {a:8.1f} {m:6.0f}   torch {b:8.1f} {n:6.0f}   ratio {a / b:.2f}", flush=True)


if __name__ == "__main__":
    main()
