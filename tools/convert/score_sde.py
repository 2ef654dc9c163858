"""Makes a model of a checkpoint of score_sde (checkpoint_N.pth), with its averaged weights. Nothing in the file is run.

usage: python3 tools/convert/score_sde.py CHECKPOINT.pth ve/cifar10_ncsnpp_continuous DIRECTORY
needs: torch, safetensors

The average is a list without names, in the order of the trainable parameters: all but the random frequencies of the time,
and the table of noise levels, which is no parameter. Networks of variance exploding were trained on data in [0, 1]; the
model that is written is the same in the coordinates [-1, 1], where noise levels are twice as large.
"""

import sys
from pathlib import Path

import torch
from _write import write_model

NCSNPP = {"_class_name": "NCSNpp", "nf": 128, "num_res_blocks": 4, "centered": True}
DDPMPP = NCSNPP | dict(
    fir=False, progressive_input="none", embedding_type="positional", scale_by_sigma=False
)
VE = NCSNPP | dict(label_scale=0.5)
VP = NCSNPP | dict(scale_by_sigma=False, embedding_type="positional")
LARGE = VE | dict(
    image_size=256,
    ch_mult=[1, 1, 2, 2, 2, 2, 2],
    num_res_blocks=2,
    progressive="output_skip",
    progressive_input="input_skip",
    dropout=0.0,
)
DEEP = dict(num_res_blocks=8)

# The configurations of score_sde's own files: the network, the process, the largest noise level of VE.
CONFIGS = {
    "ve/cifar10_ncsnpp_continuous": (VE, "ve", 50),
    "ve/cifar10_ncsnpp_deep_continuous": (VE | DEEP, "ve", 50),
    "ve/bedroom_ncsnpp_continuous": (LARGE, "ve", 378),
    "ve/celebahq_256_ncsnpp_continuous": (LARGE, "ve", 348),
    "ve/church_ncsnpp_continuous": (LARGE, "ve", 380),
    "ve/ffhq_256_ncsnpp_continuous": (LARGE, "ve", 348),
    "vp/cifar10_ddpmpp_continuous": (DDPMPP, "vp-linear", None),
    "vp/cifar10_ddpmpp_deep_continuous": (DDPMPP | DEEP, "vp-linear", None),
    "vp/cifar10_ncsnpp_continuous": (VP, "vp-linear", None),
    "vp/cifar10_ncsnpp_deep_continuous": (VP | DEEP, "vp-linear", None),
    "subvp/cifar10_ddpmpp_continuous": (DDPMPP, "sub-vp", None),
    "subvp/cifar10_ddpmpp_deep_continuous": (DDPMPP | DEEP, "sub-vp", None),
    "subvp/cifar10_ncsnpp_continuous": (VP, "sub-vp", None),
    "subvp/cifar10_ncsnpp_deep_continuous": (VP | DEEP, "sub-vp", None),
}


def meaning(config: dict, process: str, sigma_max: float | None) -> str:
    """The text of sde.toml."""
    if process == "ve":
        process = f'{{ name = "ve", sigma_min = 0.02, sigma_max = {2.0 * sigma_max} }}'
        words = 'prediction = "score"\nlabel = "sigma"'
    else:
        process = f'{{ name = "{process}", beta_min = 0.1, beta_max = 20.0 }}'
        words = 'prediction = "epsilon"\nlabel = "999t"'
    n = config.get("image_size", 32)
    return f"process = {process}\n{words}\nshape = [3, {n}, {n}]\nt_min = 1e-5\nlevels = 256\n"


def averaged(checkpoint: dict) -> dict[str, torch.Tensor]:
    """The averaged weights by name, the frozen ones as they are."""
    model = {name.removeprefix("module."): t for name, t in checkpoint["model"].items()}
    model.pop("sigmas", None)
    frozen = {name for name in model if name == "all_modules.0.W" and model[name].ndim == 1}
    trained = [name for name in model if name not in frozen]
    shadow = checkpoint["ema"]["shadow_params"]
    if len(shadow) != len(trained):
        sys.exit(f"the average has {len(shadow)} tensors, expected {len(trained)}")
    for name, average in zip(trained, shadow):
        if average.shape != model[name].shape:
            sys.exit(f"{name}: the average has the shape {list(average.shape)}, expected {list(model[name].shape)}")
        model[name] = average
    return model


def main() -> None:
    if len(sys.argv) != 4 or sys.argv[2] not in CONFIGS:
        sys.exit(f"{__doc__}\nconfigurations: {', '.join(CONFIGS)}")
    checkpoint = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
    config, process, sigma_max = CONFIGS[sys.argv[2]]
    write_model(Path(sys.argv[3]), config, meaning(config, process, sigma_max), averaged(checkpoint))


main()
