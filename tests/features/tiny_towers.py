"""Tiny models of transformers whose tokens can merge, and inputs of theirs."""

import torch
import transformers as hub

TINY = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}
WIDE = {**TINY, "intermediate_size": 40}
SQUARE = {"image_size": 24, "patch_size": 4}
SOUND = {"num_mel_bins": 32, "max_length": 96, "frequency_stride": 8, "time_stride": 8}
MAKERS = {
    "vit": lambda: hub.ViTModel(hub.ViTConfig(**WIDE, **SQUARE)),
    "ast": lambda: hub.ASTModel(hub.ASTConfig(**WIDE, **SOUND)),
    "clip": lambda: hub.CLIPVisionModelWithProjection(hub.CLIPVisionConfig(**WIDE, **SQUARE, projection_dim=16)),
    "metaclip2": lambda: hub.MetaClip2VisionModel(hub.MetaClip2VisionConfig(**WIDE, **SQUARE)),
    "siglip": lambda: hub.SiglipVisionModel(hub.SiglipVisionConfig(**WIDE, **SQUARE)),
    "dinov2": lambda: hub.Dinov2Model(hub.Dinov2Config(**TINY, **SQUARE, mlp_ratio=2)),
    "dinov2 giant": lambda: hub.Dinov2Model(hub.Dinov2Config(**TINY, **SQUARE, use_swiglu_ffn=True)),
    "registers": lambda: hub.Dinov2WithRegistersModel(
        hub.Dinov2WithRegistersConfig(**TINY, **SQUARE, mlp_ratio=2)
    ),
    "videomae": lambda: hub.VideoMAEForVideoClassification(
        hub.VideoMAEConfig(**WIDE, image_size=16, patch_size=4, num_frames=4)
    ),
    "xclip": lambda: hub.XCLIPVisionModel(hub.XCLIPVisionConfig(**WIDE, **SQUARE, num_frames=2)),
}
PROTECTED = {"ast": 2, "siglip": 0, "registers": 5, "videomae": 0}  # others 1


def make(name, dtype=torch.float64):
    """A model whose weights are far from the start of training, where all keys are nearly alike."""
    torch.manual_seed(list(MAKERS).index(name))
    model = MAKERS[name]().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.4 if parameter.ndim > 1 else 0.7)
    return model.to(dtype)


def inputs(name, dtype=torch.float64, size=4):
    draw = torch.Generator().manual_seed(5)
    if name == "ast":
        return {"input_values": torch.randn(size, 96, 32, generator=draw).to(dtype)}
    shape = (size, 4, 3, 16, 16) if name == "videomae" else (size, 3, 24, 24)
    return {"pixel_values": torch.randn(shape, generator=draw).to(dtype)}


def layers_of(model):
    (layers,) = [part for part in model.modules() if isinstance(part, torch.nn.ModuleList)]
    return layers


def slow_match(metric, r, protected):
    """For one item (N, C), the lists of tokens that become one, in their order, by loops over the definition."""
    unit = [row / row.norm() for row in metric]
    r = max(0, min(r, (len(unit) - protected) // 2))
    evens, odds = ([i for i in range(protected, len(unit)) if i % 2 == half] for half in (0, 1))
    best = {even: max((float(unit[even] @ unit[odd]), odd) for odd in odds) for even in evens if odds}
    ranked = sorted(evens, key=lambda even: -best[even][0] if odds else 0)
    members = {token: [token] for token in range(len(unit))}
    for even in ranked[:r]:
        members[best[even][1]].append(even)
    rest = sorted(ranked[r:]) if protected else ranked[r:]
    return [members[token] for token in (*range(protected), *rest, *odds)]


def before_and_after(model, given):
    """States before the first layer and after the last one."""
    layers, seen = layers_of(model), []
    hooks = [
        layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0])),
        layers[-1].register_forward_hook(lambda module, args, out: seen.append(out)),
    ]
    out = model(**given)
    for hook in hooks:
        hook.remove()
    return (*seen, out)
