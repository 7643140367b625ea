"""`import-sentiformer`: a state dict of the paper authors' network, beside CLIP's encoders, becomes a bundle.

The authors trained on CLIP ViT-B/32 as `get_image_features` and `get_text_features` give it: projected, not normalised. Encoders that
normalise would feed their network vectors a tenth as long, so they are refused.
"""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy
import torch
from torch import Tensor

from . import contract
from .contract import Field
from .export import export_graph
from .import_clip import TOLERANCE
from .manifest import Encoders, Heads, Label, new_folder, read_encoders, write_bundle
from .met import EMBEDDING_WIDTH, EMOTIONS, Met
from .met_graphs import CAPTION, PROMPT, MetFusion, MetRelevance
from .refused import Refused
from .run_record import write_run
from .runtime import TextSide, open_session, run_relevance

# In the order of the authors' own one-hot labels, which is that of the alphabet.
LABELS = (
    Label("amusement", 1.0),
    Label("anger", -1.0),
    Label("awe", 1.0),
    Label("contentment", 1.0),
    Label("disgust", -1.0),
    Label("excitement", 1.0),
    Label("fear", -1.0),
    Label("sadness", -1.0),
)
# Both parts joined are their prompt to the letter, the comma behind the last object included.
PROMPT_PARTS = (contract.SCENE_PART, "and the image contains the following objects: {objects}, ")
FIELDS = (Field("caption", ("{caption}",)), Field("context", PROMPT_PARTS))
UNUSED = (".alt.", ".extra_token", "text_encoder.add_channels.")
INPUTS = ["image_embedding", "field_embedding", "field_present"]
EXAMPLES = 16


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint: bare, or under `state_dict` beside the optimiser's; `module.` of parallel training dropped."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # on bytes that are no pickle the unpickler fails in whatever way comes first
        raise Refused(f"{path} is no PyTorch checkpoint of plain tensors; nothing else of it is loaded, it could run code") from error
    state = stored.get("state_dict", stored) if isinstance(stored, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise Refused(f"{path} holds no state dict, neither bare nor as `state_dict`")
    return {name.removeprefix("module."): value.float() for name, value in state.items()}


def layer_count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers the names tell of."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
    return len(numbers)


def read_met(path: Path) -> Met:
    """The authors' network with this checkpoint's weights; its depths are read off the names."""
    state = read_state(path)
    arl = layer_count(state, "h_hyper_layer.layers.")
    blocks = layer_count(state, "fusion_layer.CrossTransformerEncoder.layers.")
    met = Met(max(arl, 1), blocks)
    expected = met.state_dict()
    missing = [name for name in expected if name not in state and not is_unused(name)]
    surplus = [name for name in state if name not in expected]
    shaped = [
        f"{name} is {list(state[name].shape)} instead of {list(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if missing or surplus or shaped:
        told = [f"lacks {name}" for name in missing] + [f"has {name} besides" for name in surplus] + shaped
        more = f", and {len(told) - 5} more" if len(told) > 5 else ""
        raise Refused(f"{path} is no state dict of the authors' MET with {EMOTIONS} emotions: {'; '.join(told[:5])}{more}")
    met.load_state_dict(state, strict=False)
    return met.eval()


def is_unused(name: str) -> bool:
    """Whether a published parameter takes no part in any result."""
    return any(part in name for part in UNUSED) and not name.startswith("fusion_layer.")


def check_encoders(folder: Path, encoders: Encoders) -> None:
    """Refuses encoders of another width, and such that normalise."""
    text = TextSide(folder / contract.TOKENIZER, folder / contract.TEXT_ENCODER, encoders.max_tokens)
    embedding = text.embed("")
    width = open_session(folder / contract.IMAGE_ENCODER).get_outputs()[0].shape[1]
    if (width, len(embedding)) != (EMBEDDING_WIDTH, EMBEDDING_WIDTH):
        raise Refused(
            f"the encoders in {folder} give {width} numbers an image and {len(embedding)} a text; the authors' network reads "
            f"{EMBEDDING_WIDTH} of each (CLIP ViT-B/32)"
        )
    if abs(float(numpy.linalg.norm(embedding)) - 1) < 1e-2:
        raise Refused(
            f"the encoders in {folder} normalise their embeddings, the authors' network was trained on CLIP's projections as they are; "
            "make the encoders with `import-clip --unnormalised`"
        )


def export_met(met: Met, bundle: Path) -> dict[str, float]:
    """Both graphs; returns how far they are from the authors' network, which is run beside them."""
    generator = torch.Generator().manual_seed(contract.SEED)
    image = torch.randn(EXAMPLES, EMBEDDING_WIDTH, generator=generator) * 0.4  # about the length of CLIP's own
    fields = torch.randn(EXAMPLES, len(FIELDS), EMBEDDING_WIDTH, generator=generator) * 0.4
    present = torch.ones(EXAMPLES, len(FIELDS), dtype=torch.bool)
    relevance, fusion = MetRelevance(met), MetFusion(met)
    export_graph(relevance, (image, fields, present), INPUTS, ["hyper", "target", "relevance"], bundle / contract.RELEVANCE)
    with torch.no_grad():
        hyper, target, _ = relevance(image, fields, present)
        expected = met(image, fields[:, PROMPT], fields[:, CAPTION]).numpy()
    export_graph(fusion, (hyper, target), ["hyper", "target"], ["probabilities"], bundle / contract.FUSION)
    found = run_relevance(open_session(bundle / contract.RELEVANCE), image.numpy(), fields.numpy(), present.numpy())
    answers = open_session(bundle / contract.FUSION).run(None, {"hyper": found[0], "target": found[1]})[0]
    worst = float(numpy.abs(answers - expected).max())
    if not worst <= TOLERANCE:
        raise Refused(f"the graphs' probabilities differ from the authors' network by {worst:.1e}: a fault of the export")
    return {"probabilities": worst, "hyper": difference_of(found[0], hyper)}


def difference_of(found: numpy.ndarray, expected: Tensor) -> float:
    """Greatest difference, as a part of the greatest value."""
    return float(numpy.abs(found - expected.numpy()).max() / expected.abs().max())


def card_text(encoders: Encoders, arl: int, blocks: int) -> str:
    """What may be said of a bundle whose accuracy was not measured."""
    return f"""# {encoders.name}, version {encoders.version}

Eight emotions (the FI taxonomy, after Mikels) of a post: an image, its `caption` and its `context` (a prompt made of scene and
objects). The heads are a checkpoint of the paper authors' network (Feng et al., 2025, arXiv 2502.15322): {arl} ARL layers,
{blocks} fusion blocks, the text as the query. Encoders: CLIP, {encoders.precision}. Licence: {encoders.license}.

Nothing was measured: neither accuracy nor calibration. The authors' captions were BLIP's and their objects a detector's; captions that
people write are something else. Probabilities are the authors' softmax, untempered.

Relevance: the last hyper-representation falls apart into what reading the image's tokens alike would give, what reading the prompt's
would, and what the text changes by asking; a weight is such a part's Frobenius norm over the sum of the three (`docs/bundle.md`).
"""


def import_sentiformer(chosen: argparse.Namespace) -> None:
    """The whole command."""
    source: Path = chosen.encoders
    target = new_folder(chosen.out, [source])
    met, given = read_met(chosen.checkpoint), read_encoders(source)
    check_encoders(source, given)
    license = f"heads: {chosen.license}; encoders: {given.license}"
    encoders = replace(given, name=chosen.name, version=chosen.version, license=license, fields=FIELDS, tagger=None)
    for name in encoders.files:
        shutil.copyfile(source / name, target / name)
    worst = export_met(met, target)
    depths = {"arl_layers": len(met.h_hyper_layer.layers), "fusion_blocks": len(met.fusion_layer.CrossTransformerEncoder.layers)}
    (target / contract.CARD).write_text(card_text(encoders, *depths.values()), encoding="utf-8")
    settings = {"checkpoint": chosen.checkpoint, "encoders": source, "seed": contract.SEED, **depths}
    write_run(target, "import-sentiformer", settings, {"greatest difference from the authors' network": worst})
    print(f"bundle in {target}, digest {write_bundle(target, encoders, Heads(LABELS, query=FIELDS[CAPTION].name))}")
