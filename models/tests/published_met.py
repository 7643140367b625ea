"""Names and shapes of the published network's parameters, written down by hand from what its code declares."""

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def norms(prefix: str, *names: str) -> Shapes:
    return {f"{prefix}.{name}.{kind}": (128,) for name in names for kind in ("weight", "bias")}


def blocks(prefix: str, depth: int) -> Shapes:
    """Pairs of attention (8 heads of 64) and perceptron (128 wide)."""
    found: Shapes = {}
    for layer in range(depth):
        attention, perceptron = f"{prefix}.layers.{layer}.0", f"{prefix}.layers.{layer}.1"
        found |= norms(attention, "norm_q", "norm_k", "norm_v") | linear(f"{attention}.fn.to_out.0", 512, 128)
        for name in ("to_q", "to_k", "to_v"):
            found |= linear(f"{attention}.fn.{name}", 128, 512, bias=False)
        found |= norms(perceptron, "norm") | linear(f"{perceptron}.fn.net.0", 128, 128) | linear(f"{perceptron}.fn.net.3", 128, 128)
    return found


def published(arl_layers: int, fusion_blocks: int) -> Shapes:
    """Every parameter."""
    found: Shapes = {"h_hyper": (1, 8, 128)}
    for modality in "lav":
        name = f"proj_{modality}"
        found |= linear(f"{name}0", 512, 128) | linear(f"{name}.add_channels", 1, 8) | blocks(f"{name}.encoder", 1)
        found |= {f"{name}.pos_embedding": (1, 8, 128), f"{name}.extra_token": (1, 8, 128)}
    found |= linear("text_encoder.add_channels", 1, 8) | {"text_encoder.pos_embedding": (1, 8, 128)}
    found |= blocks("text_encoder.encoder", arl_layers - 1)
    for layer in range(arl_layers):
        name = f"h_hyper_layer.layers.{layer}.0"
        found |= norms(name, "norm1", "norm2", "norm3", "norm4") | linear(f"{name}.fn.to_out.0", 128, 128)
        found |= linear(f"{name}.fn.alt.0", 384, 128) | linear(f"{name}.fn.alt.2", 128, 128)
        for part in ("to_q", "to_k_ta", "to_k_tv", "to_v_ta", "to_v_tv"):
            found |= linear(f"{name}.fn.{part}", 128, 128, bias=False)
    found |= {"fusion_layer.pos_embedding_s": (1, 9, 128), "fusion_layer.pos_embedding_t": (1, 9, 128)}
    found |= {"fusion_layer.extra_token": (1, 1, 128)} | blocks("fusion_layer.CrossTransformerEncoder", fusion_blocks)
    return found | linear("cls_head.0", 128, 8)
