"""A U-Net of the shape of google/ddpm-cifar10-32 with random weights: this library against diffusers on the same machine.

usage: python benches/peers/unet.py --sde target/release/sde [--threads 2] [--rounds 3]
needs: torch 2.11.0 (the libtorch of this library), diffusers, safetensors

Both libraries run in turns, so that what else the machine does meets both. Seconds are medians over all rounds. The last
columns are the part of the machine's own rate of matrix products in the same arithmetic.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from statistics import median

import torch
from diffusers import UNet2DModel

CONFIG = dict(
    sample_size=32,
    block_out_channels=(128, 256, 256, 256),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=None,
    norm_eps=1e-6,
    downsample_padding=0,
    flip_sin_to_cos=False,
    freq_shift=1,
)
KINDS = {"f32": torch.float32, "bf16": torch.bfloat16}


def seconds(call, repeat):
    """Of each of so many calls, after one that does not count."""
    call()
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def peer(model, kind, batch, repeat, gradient, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(batch, 3, 32, 32, dtype=kind).to(memory_format=layout)
    t = torch.full((batch,), 0.5)

    def value():
        with torch.no_grad():
            return model(x, t).sample

    u = torch.ones(batch, 3, 32, 32, dtype=kind)

    def product():
        y = x.detach().requires_grad_()
        return torch.autograd.grad((model(y, t).sample * u).sum(), y)

    return seconds(product if gradient else value, repeat)


def ours(sde, folder, dtype, batch, repeat, threads):
    """Each in the layout that the program chooses for it."""
    found = []
    for what, layout in (("eval_ms", "packed"), ("vjp_ms", "nchw")):
        command = [sde, "bench", "--model", folder, "--dtype", dtype, "--batch", str(batch), "--repeat", str(repeat)]
        command += ["--threads", str(threads), "--layout", layout, "--device", "cpu", "--json", "--quiet"]
        out = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(out.stdout)[what]["median"] / 1e3)
    return found


def rate(kind):
    """Multiplications and additions of a matrix product, a second."""
    n = 1024
    a, b = torch.randn(n, n).to(kind), torch.randn(n, n).to(kind)
    return 2 * n**3 / median(seconds(lambda: a @ b, 20))


def flops(model, batch):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(batch, 3, 32, 32), torch.zeros(batch))
    return counter.get_total_flops()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--sde", default="target/release/sde")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--folder", default="target/peers/unet-cifar10")
    arguments.add_argument("--batches", default="1,8,32")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    model = UNet2DModel(**CONFIG).eval()
    Path(given.folder).parent.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(given.folder)
    model.requires_grad_(False)
    work = flops(model, 1)
    print(f"torch {torch.__version__}, {given.threads} threads, {work / 1e9:.2f} GFLOP a sample")
    print("dtype batch what   diffusers  channels_last       ours   ratio   of the machine: theirs, ours")
    for dtype, kind in KINDS.items():
        peer_model = model.to(kind)
        last = UNet2DModel(**CONFIG).eval().requires_grad_(False)
        last.load_state_dict(model.state_dict())
        last = last.to(kind).to(memory_format=torch.channels_last)
        for batch in map(int, given.batches.split(",")):
            repeat = max(2, 16 // batch)
            found = {"eval": ([], [], []), "vjp": ([], [], [])}
            rates = []
            for _ in range(given.rounds):
                rates.append(rate(kind))
                value, product = ours(given.sde, given.folder, dtype, batch, repeat, given.threads)
                for what, mine in (("eval", value), ("vjp", product)):
                    gradient = what == "vjp"
                    found[what][0].extend(peer(peer_model, kind, batch, repeat, gradient, False))
                    found[what][1].extend(peer(last, kind, batch, repeat, gradient, True))
                    found[what][2].append(mine)
            for what, times in found.items():
                plain, channels, mine = map(median, times)
                best = min(plain, channels)
                part = [work * batch / t / median(rates) for t in (best, mine)]
                parts = f"{part[0]:.2f}, {part[1]:.2f}" if what == "eval" else ""
                print(
                    f"{dtype:5} {batch:5} {what:5} {plain * 1e3:9.1f} {channels * 1e3:14.1f} {mine * 1e3:10.1f}"
                    f"  {best / mine:6.2f}   {parts}",
                    flush=True,
                )


main()
