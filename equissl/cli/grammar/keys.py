"""Keys that several verbs have."""

from __future__ import annotations

from dataclasses import replace

from equissl.cli.grammar.arguments import Key
from equissl.config.validation import MAX_SEED

OUT = Key("out=DIR", "folder to write", required=True)
OUT_FILE = Key("out=FILE", "file to write", required=True)
DATA = Key("data=DIR", "folder of images, or a table of them: .csv, .jsonl, .parquet")
NEEDED_DATA = replace(DATA, required=True)
LABELS = Key(
    "labels=none|folders|FILE",
    "none, folders (first level), a csv file with the columns file,label, or a table's column",
    "none",
)
LIMIT = Key("limit=N", "images of each split of data=DIR; 0: all", 0)
DEVICE = Key("device=auto|cpu|cuda", "where torch computes", "auto")
SEED = Key("seed=N", "of every random choice", 0, high=MAX_SEED)
COUNT = Key("count=N", "number of images", 1000, low=1)
WEIGHTS = Key("weights=FILE", "weights of timm/NAME, as timm/NAME@FILE; random ones if absent")
INPUTS = (
    Key("mean=R,G,B", "of images in [0, 1], per channel; the model's own if absent", ()),
    Key("std=R,G,B", "likewise", ()),
)
SIZE = Key("size=N", "side of the images in pixels; 0: the model's own", 0)
TRUST = Key(
    "trust=PACKAGE,...",
    "packages whose code a stored file may run; equissl: downloads, pickles (SECURITY.md)",
    (),
)
RECIPE = Key(
    "recipe=NAME",
    "a name from `equissl list recipes`, or module:function; chosen for the images if absent",
    choices="recipes",
)
REQUIREMENTS = (
    Key("keep=FACTOR,...", "factors that features keep; makes a recipe", (), choices="factors"),
    Key("ignore=FACTOR,...", "factors that features ignore; SimCLR's if absent", (), choices="factors"),
)
STEPS = (
    Key("log_every=N", "steps between logged rows", 10, low=1),
    Key("save_every=N", "steps between checkpoints; 0: every five minutes and at the end", 0),
    Key("stop_after=N", "stop after this step as if interrupted; 0: never", 0),
)
RUNNING = (
    DEVICE,
    Key("devices=N", "number of processes that share a batch", 1, low=1),
    Key(
        "loggers=NAME,...",
        "tensorboard, wandb, mlflow, or [] for none; log.jsonl is always written",
        ("tensorboard",),
        choices=("tensorboard", "wandb", "mlflow"),
    ),
    *STEPS,
)

RESUMING = (
    DEVICE,
    *(replace(key, help=f"{key.help}; the run's own if absent", default=None) for key in RUNNING[1:]),
)
