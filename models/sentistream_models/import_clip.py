"""`import-clip`: a Hugging Face CLIP folder becomes the encoders of a bundle.

What the folder's `config.json` and `preprocessor_config.json` say is followed where the worker can follow it and refused by name where
it cannot: the worker takes the centred square of a picture, resized bicubically.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy
import torch
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import CLIPModel, CLIPTokenizer, CLIPVisionConfig

from . import contract
from .clip import ClipImageEncoder, ClipTextEncoder, text_config
from .contract import CAPTION, FIELDS, OBJECTS_PART, SCENE_PART, TAGS, Field
from .export import export_graph
from .manifest import MOST_GRAPH_BYTES, Encoders, ImageSide, new_folder, write_encoders
from .refused import Refused
from .run_record import write_run
from .runtime import open_session
from .text_encoder import export_text_encoder

BICUBIC = 3
TOLERANCE = 1e-4
FIELDS_OFFERED = (FIELDS[CAPTION], FIELDS[TAGS], Field("context", (SCENE_PART, OBJECTS_PART)))


@dataclass(frozen=True)
class Preprocessing:
    """What the folder says of pictures: the worker's own terms, and what a level of a pixel is multiplied with."""

    image: ImageSide
    scale: float


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """One of the folder's files."""
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        told = f"{folder / name} cannot be read ({error.strerror}); name a folder saved by CLIPModel and its processor"
        raise Refused(told) from error
    except json.JSONDecodeError as error:
        raise Refused(f"{folder / name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refused(f"{folder / name} holds no JSON object")
    return value


def check_config(config: dict[str, Any]) -> None:
    """Refuses what is no CLIP."""
    found = config.get("model_type")
    if found != "clip":
        raise Refused(f'config.json: model_type is {found!r}, import-clip reads "clip" (both towers and their projections)')


def side_of(value: object, keys: tuple[str, ...]) -> int | None:
    """A size as older (a number) and newer (a table) processors write it; nothing where it is not one length."""
    if isinstance(value, int):
        return value
    if not isinstance(value, dict) or set(value) - set(keys):
        return None
    lengths = {value[key] for key in keys if key in value}
    return lengths.pop() if len(lengths) == 1 else None


def read_preprocessing(config: dict[str, Any], image_size: object) -> Preprocessing:
    """`preprocessor_config.json` in the worker's terms."""

    def demand(kept: bool, key: str, expected: str) -> None:
        if not kept:
            raise Refused(f"preprocessor_config.json: {key} is {config.get(key)!r}; the worker can only do {expected}")

    shortest, cropped = side_of(config.get("size"), ("shortest_edge",)), side_of(config.get("crop_size"), ("height", "width"))
    demand(config.get("do_resize", True), "do_resize", "true")
    demand(config.get("do_center_crop", True), "do_center_crop", "true")
    demand(shortest is not None, "size", "a shortest_edge")
    demand(config.get("resample", BICUBIC) == BICUBIC, "resample", f"{BICUBIC} (bicubic)")
    demand(cropped is not None and cropped <= (shortest or 0), "crop_size", "a square no larger than the resized picture")
    demand(cropped == image_size, "crop_size", f"the model's own image_size, {image_size}")
    normalised = config.get("do_normalize", True)
    mean, std = (config["image_mean"], config["image_std"]) if normalised else ([0.0] * 3, [1.0] * 3)
    scale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    side = int(cropped or 0)
    return Preprocessing(ImageSide(side, side, side / int(shortest or 1), tuple(mean), tuple(std)), scale)


def read_model(folder: Path) -> CLIPModel:
    """The model in fp32, every weight of it from the folder."""
    try:
        loaded: Any = CLIPModel.from_pretrained(
            str(folder),
            attn_implementation="eager",
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # configurations and weights that are no CLIP's fail in whatever way comes first
        raise Refused(f"{folder} is no CLIP folder with a model.safetensors: {error}") from error
    model: CLIPModel = loaded[0]
    found: dict[str, Any] = loaded[1]
    if found["missing_keys"]:
        raise Refused(f"model.safetensors lacks {', '.join(sorted(found['missing_keys'])[:5])}: it holds no whole CLIPModel")
    for name, tower in (("text", model.text_model), ("vision", model.vision_model)):
        size = 4 * sum(parameter.numel() for parameter in tower.parameters())
        if size > MOST_GRAPH_BYTES:
            raise Refused(f"the {name} tower takes {size / 1e9:.1f} GB in fp32; a graph holds at most 2 GB, its weights included")
    return model.eval()


def read_tokenizer(folder: Path, config: dict[str, Any]) -> Tokenizer:
    """The tokenizer as `transformers` reads it, which must end a text with the token the model reads the embedding off."""
    if not (folder / "tokenizer.json").exists() and not all((folder / name).exists() for name in ("vocab.json", "merges.txt")):
        raise Refused(f"{folder} has neither tokenizer.json nor vocab.json and merges.txt; save the CLIPTokenizer into it")
    tokenizer: Tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True).backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    text = config.get("text_config") or {}
    vocabulary, end = text.get("vocab_size", 49408), text.get("eos_token_id", 49407)
    if tokenizer.get_vocab_size() > vocabulary:
        raise Refused(f"the tokenizer knows {tokenizer.get_vocab_size()} tokens, the model {vocabulary}: they do not belong together")
    last = tokenizer.encode("").ids[-1:]
    if last != [end] and end != 2:  # 2 is what older configurations say, whose models read the greatest token
        raise Refused(f"the tokenizer ends a text with token {last}, the model looks for {end} (text_config.eos_token_id)")
    return tokenizer


def export_encoders(model: CLIPModel, preprocessing: Preprocessing, normalise: bool, target: Path) -> dict[str, float]:
    """Both graphs; returns how far each is from the module it was made of."""
    image = preprocessing.image
    vision = ClipImageEncoder(model, preprocessing.scale, image.mean, image.std, normalise).eval()
    text = ClipTextEncoder(model, normalise).eval()
    generator = torch.Generator().manual_seed(contract.SEED)
    pixels = torch.randint(0, 256, (2, image.height, image.width, 3), dtype=torch.uint8, generator=generator)
    ids = torch.randint(0, text_config(model).vocab_size, (3, 9), generator=generator)
    mask = (torch.arange(9) < torch.tensor([9, 3, 6])[:, None]).to(torch.int64)
    with tqdm(total=2, desc="graphs") as progress:
        export_graph(vision, (pixels,), ["pixels"], ["image_embedding"], target / contract.IMAGE_ENCODER)
        progress.update()
        export_text_encoder(text, target / contract.TEXT_ENCODER)
        progress.update()
    with torch.no_grad():
        return {
            contract.IMAGE_ENCODER: difference(target / contract.IMAGE_ENCODER, {"pixels": pixels}, vision(pixels)),
            contract.TEXT_ENCODER: difference(
                target / contract.TEXT_ENCODER, {"input_ids": ids, "attention_mask": mask}, text(ids, mask)
            ),
        }


def difference(graph: Path, inputs: dict[str, torch.Tensor], expected: torch.Tensor) -> float:
    """Greatest difference between graph and module, as a part of the greatest value; refused above the tolerance."""
    found = open_session(graph).run(None, {name: value.numpy() for name, value in inputs.items()})[0]
    worst = float(numpy.abs(found - expected.numpy()).max() / numpy.abs(expected.numpy()).max())
    if not worst <= TOLERANCE:
        raise Refused(f"{graph.name} differs from the PyTorch module by {worst:.1e} (at most {TOLERANCE:.0e}): a fault of the export")
    return worst


def import_clip(chosen: argparse.Namespace) -> None:
    """The whole command."""
    source: Path = chosen.source
    target = new_folder(chosen.out, [source])
    config = read_json(source, "config.json")
    check_config(config)
    model = read_model(source)
    preprocessing = read_preprocessing(
        read_json(source, "preprocessor_config.json"), cast(CLIPVisionConfig, model.config.vision_config).image_size
    )
    read_tokenizer(source, config).save(str(target / contract.TOKENIZER), pretty=False)
    worst = export_encoders(model, preprocessing, not chosen.unnormalised, target)
    encoders = Encoders(
        name=chosen.name or source.resolve().name,
        version=chosen.version,
        license=chosen.license,
        precision="fp32",
        image=preprocessing.image,
        max_tokens=text_config(model).max_position_embeddings,
        fields=FIELDS_OFFERED,
    )
    settings = {"source": source, "unnormalised": chosen.unnormalised, "seed": contract.SEED}
    write_run(target, "import-clip", settings, {"greatest difference from the module": worst})
    write_encoders(target, encoders)
    print(f"encoders in {target}: complete them with `train --encoders` or `import-sentiformer --encoders`")
