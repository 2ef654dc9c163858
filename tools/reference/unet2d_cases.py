"""Writes small UNet2DModel checkpoints of every kind with the reference library's output and product with its Jacobian.

usage: python3 tools/reference/unet2d_cases.py fixtures/unet2d
needs: torch 2.12.1, diffusers 0.42.1, safetensors

Weights are random, biases and norms too, so that no term is hidden by a zero. A case is a directory as diffusers writes
it, with `reference.safetensors`: sample, timestep, class_labels (where there are classes), vjp_vector; output, vjp.
"""

import sys
from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

SMALL = dict(block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, attention_head_dim=4)
PLAIN = dict(
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")
)
SKIP = dict(
    norm_num_groups=None,
    layers_per_block=1,
    time_embedding_type="fourier",
    mid_block_scale_factor=2**0.5,
    norm_eps=1e-6,
)

# name: (configuration, sample shape, times, classes)
CASES = {
    "adm-micro": (
        dict(
            block_out_channels=(16, 24),
            norm_num_groups=4,
            attn_norm_num_groups=4,
            layers_per_block=2,
            attention_head_dim=8,
            num_class_embeds=7,
            resnet_time_scale_shift="scale_shift",
            downsample_type="resnet",
            upsample_type="resnet",
            down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        ),
        (3, 3, 8, 8),
        torch.tensor([0.25, 17.0, 999.0]),
        torch.tensor([0, 6, 3]),
    ),
    "attn-resnet-micro": (
        SMALL
        | dict(
            resnet_time_scale_shift="scale_shift",
            downsample_type="resnet",
            upsample_type="resnet",
            down_block_types=("AttnDownBlock2D", "ResnetDownsampleBlock2D"),
            up_block_types=("ResnetUpsampleBlock2D", "AttnUpBlock2D"),
            act_fn="mish",
        ),
        (2, 3, 8, 8),
        torch.tensor([3.5, 500.0]),
        None,
    ),
    "attn-skip-small-micro": (
        # A width below 32 before the attention: there the first norm shows the format's missing parentheses.
        SKIP
        | dict(
            block_out_channels=(32, 32, 16),
            attention_head_dim=None,
            down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
            up_block_types=("SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
        ),
        (2, 3, 8, 8),
        torch.tensor([0.01, 348.0]),
        None,
    ),
    "centred-rectangle-micro": (
        SMALL | PLAIN | dict(center_input_sample=True, downsample_padding=0, act_fn="gelu", time_embedding_dim=20),
        (2, 3, 6, 10),
        torch.tensor([1.0, 998.0]),
        None,
    ),
    "class-identity-micro": (
        SMALL | PLAIN | dict(class_embed_type="identity", act_fn="relu", add_attention=False),
        (2, 3, 8, 8),
        torch.tensor([10.0, 20.0]),
        "vectors",
    ),
    "class-timestep-micro": (
        SMALL | PLAIN | dict(class_embed_type="timestep", in_channels=2, out_channels=4, freq_shift=1),
        (2, 2, 8, 8),
        torch.tensor([10.0, 20.5]),
        torch.tensor([1.5, 3.0]),
    ),
    "learned-micro": (
        SMALL | PLAIN | dict(time_embedding_type="learned", num_train_timesteps=12, mid_block_type=None),
        (2, 3, 8, 8),
        torch.tensor([0, 11]),
        None,
    ),
    "mixed-skip-micro": (
        # Blocks of NCSN++ beside plain ones; groups are given, and ignored by the former.
        dict(
            block_out_channels=(16, 32),
            norm_num_groups=8,
            layers_per_block=1,
            attention_head_dim=8,
            down_block_types=("SkipDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "SkipUpBlock2D"),
        ),
        (2, 3, 8, 8),
        torch.tensor([10.0, 20.0]),
        None,
    ),
}


def case(name, config, shape, times, classes, seed):
    torch.manual_seed(seed)
    model = UNet2DModel(**config).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.startswith("time_proj"):
                continue
            norm = "norm" in key and key.endswith("weight")
            scale = 0.1 if value.ndim == 1 else 1.0 / value[0].numel() ** 0.5
            value.copy_(float(norm) + scale * torch.randn(value.shape))
    if isinstance(classes, str):
        classes = torch.randn(shape[0], model.time_embedding.linear_2.out_features)
    x = torch.randn(shape, requires_grad=True)
    y = model(x, times, class_labels=classes).sample
    u = torch.randn(y.shape)
    (vjp,) = torch.autograd.grad((y * u).sum(), x)
    tensors = dict(sample=x.detach(), timestep=times, vjp_vector=u, output=y.detach(), vjp=vjp)
    if classes is not None:
        tensors["class_labels"] = classes
    folder = Path(sys.argv[1]) / name
    model.save_pretrained(folder)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "reference.safetensors")
    print(name, tuple(y.shape), f"|y| {y.abs().max():.3g}")


torch.set_num_threads(1)
for seed, (name, values) in enumerate(CASES.items()):
    case(name, *values, seed)
