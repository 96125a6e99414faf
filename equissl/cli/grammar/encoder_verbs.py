"""Verbs that read any encoder: a run, an export, or a network of another library."""

from __future__ import annotations

from equissl.cli.grammar.arguments import Key, Verb
from equissl.cli.grammar.keys import (
    DEVICE,
    INPUTS,
    LABELS,
    LIMIT,
    NEEDED_DATA,
    OUT,
    SEED,
    SIZE,
    STEPS,
    TRUST,
    WEIGHTS,
)

AUDIT = Verb(
    "audit",
    "Which augmentation factors can be read from any encoder's features? Needs no labels.",
    "evaluate:audit",
    "MODEL...",
    keys=(
        NEEDED_DATA,
        Key("out=DIR", "folder for report.html, audit.json and rows; absent: none"),
        WEIGHTS,
        Key(
            "factors=FACTOR,...",
            "also such as the data record; all if absent",
            (),
            choices="audits",
        ),
        Key("labels=COLUMN", "of a table: the class of the images, which may tell a factor", "none"),
        Key("layer=NAME,...", "layers to read besides the output; all: four to six depths", ()),
        SIZE,
        *INPUTS,
        Key("minutes=X", "for which count, draws and untrained are chosen; 0: any time", 10.0, low=0),
        Key("count=N", "number of images, at least 40; absent: at most 400", None, low=40),
        Key("draws=N", "times each factor changes each image; absent: 2 or 1", None, low=1),
        Key("untrained=N", "networks with random weights to compare with; absent: 4 or 3", None, low=0),
        Key("precision=X", "noise added to features, in their deviations between images", 0.01, low=0),
        Key(
            "equivariance=true|false",
            "also how features change with images, for all factors; about twice the time",
            False,
        ),
        SEED,
        DEVICE,
        TRUST,
    ),
    examples=(
        "equissl audit runs/first photos",
        "equissl audit runs/first runs/second photos out=audit",
        "equissl audit timm/resnet50@pretrained timm/resnet18@moco.pth photos",
        "equissl audit torchvision/resnet50@IMAGENET1K_V2 photos",
        "equissl audit timm/resnet50@pretrained photos layer=all",
        "equissl audit timm/resnet50@pretrained photos.csv data.group=plant",
        "equissl audit model.onnx photos mean=0.5,0.5,0.5 std=0.5,0.5,0.5",
    ),
    settings="data",
)

REPAIR = Verb(
    "repair",
    "Fine-tune an encoder until forgotten factors can be read again, with an audit before and after. "
    "The same command continues where it stopped.",
    "repair:run",
    "MODEL",
    keys=(
        NEEDED_DATA,
        Key("keep=FACTOR,...", "factors that features are to hold", (), choices="factors"),
        OUT,
        Key("test=DIR", "folder of held-out images; absent: a fifth of data=, or its test split"),
        LABELS,
        LIMIT,
        WEIGHTS,
        SIZE,
        *INPUTS,
        Key("factors=FACTOR,...", "which to audit; all if absent", (), choices="audits"),
        Key("count=N", "number of images of the audits, at least 40", 400, low=40),
        Key("draws=N", "times that each image is changed by each factor", 1, low=1),
        Key("untrained=N", "networks of its kind with random weights to compare with", 3, low=0),
        SEED,
        TRUST,
        DEVICE,
        *STEPS,
    ),
    settings="recipe",
    examples=(
        "equissl repair runs/first photos keep=hue out=runs/first-hue",
        "equissl repair timm/resnet18@moco.pth photos keep=hue,crop out=repaired",
    ),
)

EMBED = Verb(
    "embed",
    "Write the features of every image in a folder.",
    "embed:run",
    "MODEL",
    keys=(
        NEEDED_DATA,
        Key("out=FILE", "a .npz or .csv file to write", required=True),
        WEIGHTS,
        SIZE,
        *INPUTS,
        SEED,
        DEVICE,
        TRUST,
    ),
    examples=(
        "equissl embed runs/first photos out=features.npz",
        "equissl embed timm/resnet50@pretrained photos out=features.npz",
    ),
)

SUBSPACE = Verb(
    "subspace",
    "Write the directions of the features that carry a factor, and say what is left without them.",
    "subspace:run",
    "MODEL",
    keys=(
        NEEDED_DATA,
        Key("factor=FACTOR", "what to look for, such as hue", required=True, choices="audits"),
        Key("out=FILE", "a .npz file to write", required=True),
        Key("factors=FACTOR,...", "others, to see what they lose", (), choices="audits"),
        LABELS,
        WEIGHTS,
        SIZE,
        *INPUTS,
        Key("count=N", "number of images, at least 40", 400, low=40),
        SEED,
        DEVICE,
        TRUST,
    ),
    examples=(
        "equissl subspace runs/first photos factor=hue out=hue.npz",
        "equissl subspace timm/resnet50@pretrained photos factor=hue out=hue.npz",
    ),
    settings="data",
)

EXPORT = Verb(
    "export",
    "Write the encoder as a folder that timm loads without equissl, or as ONNX.",
    "export:run",
    "MODEL",
    keys=(
        Key("out=DIR", "folder to write; RUN/export if absent"),
        Key("format=timm|onnx", "safetensors, or ONNX (the extra `onnx`)", "timm"),
        Key("opset=N", "version of ONNX's operators; 0: torch's default", 0),
        Key("hub=USER/NAME", "also upload it to the Hugging Face Hub (`hf auth login` first)", ""),
        Key("private=true|false", "whether a new repository there is", False),
        WEIGHTS,
        SIZE,
        *INPUTS,
        SEED,
        TRUST,
    ),
    examples=(
        "equissl export runs/first",
        "equissl export runs/first format=onnx",
        "equissl export runs/first hub=USER/NAME",
        "equissl export timm/resnet50@pretrained out=resnet50",
    ),
)
