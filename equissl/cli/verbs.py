"""The table of verbs: what each does, what it accepts, and where it is implemented."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from equissl.cli.arguments import Key, Verb

Names = tuple[str, ...]
KINDS = (
    "recipes",
    "bases",
    "equivariance",
    "augmentations",
    "datasets",
    "studies",
    "evaluations",
    "tasks",
    "backbones",
)

_OUT = Key("out", Path, "folder to write", required=True, metavar="DIR")
_OUT_FILE = Key("out", Path, "file to write", required=True, metavar="FILE")
_DATA = Key("data", Path, "folder of images (nested or flat)", metavar="DIR")
_NEEDED_DATA = Key("data", Path, "folder of images (nested or flat)", required=True, metavar="DIR")
_LABELS = Key(
    "labels",
    str,
    "none, folders (first level), or a csv file with the columns file,label",
    "none",
    metavar="none|folders|FILE",
    choices=("none", "folders"),
)
_DEVICE = Key("device", Literal["auto", "cpu", "cuda"], "where torch computes", "auto")
_SEED = Key("seed", int, "of every random choice", 0)
_COUNT = Key("count", int, "number of images", 1000)
_WEIGHTS = Key("weights", Path, "weight file for timm/NAME; random weights if absent", metavar="FILE")
_SIZE = Key("size", int, "side of the images in pixels; 0: the run's, or 224", 0)
_TRUST = Key("trust", Names, "packages outside equissl whose code a run may name", (), metavar="PACKAGE,...")
_RECIPE = Key(
    "recipe",
    str,
    "a name from `equissl list recipes`, or module:function; chosen for the images if absent",
    metavar="NAME",
    choices="equissl.cli.outline:recipe_names",
)
_FACTORS = "equissl.cli.outline:kept_factors"
_REQUIREMENTS = (
    Key(
        "keep",
        Names,
        "factors that features keep; makes a recipe",
        (),
        metavar="FACTOR,...",
        choices=_FACTORS,
    ),
    Key(
        "ignore",
        Names,
        "factors that features ignore; SimCLR's if absent",
        (),
        metavar="FACTOR,...",
        choices=_FACTORS,
    ),
)
_RUNNING = (
    _DEVICE,
    Key("devices", int, "number of processes that share a batch", 1),
    Key(
        "loggers",
        Names,
        "tensorboard, wandb, mlflow, or [] for none; log.jsonl is always written",
        ("tensorboard",),
        metavar="NAME,...",
        choices=("tensorboard", "wandb", "mlflow"),
    ),
    Key("log_every", int, "steps between logged rows", 10),
    Key("save_every", int, "steps between checkpoints; 0: every five minutes and at the end", 0),
    Key("stop_after", int, "stop after this step as if interrupted; 0: never", 0),
)
_RECIPE_SETTINGS = "equissl.cli.outline:recipe_settings"

_RENDER = Verb(
    "render",
    "Render a benchmark: solids with known factors, 3DIEBench, or photonic crystals with spectra.",
    examples=(
        "equissl render solids out=solids objects=100",
        "equissl render photonics kind=blob count=100 out=blob.safetensors",
    ),
    verbs=(
        Verb(
            "render solids",
            "Render solids into a folder of images with known factors.",
            "equissl.cli.render:solids",
            keys=(
                _OUT,
                Key("objects", int, "number of objects", 400),
                Key("views", int, "images per object", 10),
                Key("size", int, "side in pixels", 64),
                _SEED,
            ),
            examples=("equissl render solids out=solids objects=100 views=8 size=128",),
        ),
        Verb(
            "render 3diebench",
            "Render meshes with Blender in 3DIEBench's layout. The same command continues where it stopped.",
            "equissl.cli.render_3diebench:run",
            keys=(
                _OUT,
                Key("meshes", Path, "folder of .obj, .glb, .ply or ShapeNetCore v2; built-in if absent"),
                Key("objects", int, "number of objects; 0: all (100 built-in ones)", 0),
                Key("views", int, "images per object", 50),
                Key("size", int, "side in pixels", 256),
                Key("samples", int, "maximum number of light paths per pixel", 100),
                Key("rotations", Literal["euler", "uniform"], "3DIEBench's, or uniform over SO(3)", "euler"),
                Key(
                    "angles",
                    tuple[float, ...],
                    "range of each Euler angle in degrees",
                    (0, 90),
                    metavar="MIN,MAX",
                ),
                Key("shift", float, "maximum translation along an axis, in object sizes", 0.0),
                Key("channels", Literal["rgb", "bgr"], "bgr: as the original's code wrote them", "rgb"),
                _SEED,
                Key("shard", str, "render the k-th of n parts (0 <= k < n)", "0/1", metavar="k/n"),
                Key(
                    "device",
                    Literal["cpu", "cuda", "optix", "hip", "metal", "oneapi"],
                    "of Blender's Cycles: cpu, cuda, optix, hip, metal or oneapi",
                    "cpu",
                    metavar="NAME",
                ),
                Key("threads", int, "of Blender; 0: one per core", 0),
                Key("timeout", float, "seconds without an image until an object is given up", 600.0),
                Key("python", str, "an interpreter with bpy, if this one has none", "", metavar="FILE"),
            ),
            examples=(
                "equissl render 3diebench out=renders objects=20 size=128 samples=32",
                "equissl render 3diebench meshes=ShapeNetCore.v2 out=3DIEBench shard=0/8",
                "equissl render 3diebench out=ood angles=90,180",
            ),
        ),
        Verb(
            "render photonics",
            "Generate photonic crystals and their densities of states. The same command continues "
            "where it stopped.",
            "equissl.cli.render:photonics",
            keys=(
                Key("kind", str, "blob, gpm, or one of the 17 plane groups (p1 ... p6m)", required=True),
                Key("count", int, "number of cells", required=True),
                _OUT_FILE,
                Key("labelled", int, "number of cells with a density of states (the last); -1: all", -1),
                Key("size", int, "side of a cell in pixels, even", 32),
                Key("harmonics", int, "of a level set; 0: the fewest that show its group", 0),
                Key("polarisation", Literal["tm", "te"], "of the waves", "tm"),
                Key("order", int, "plane waves up to this number along each axis", 5),
                Key("grid", int, "k-points along each axis, odd", 25),
                _SEED,
                _DEVICE,
            ),
            examples=(
                "equissl render photonics kind=gpm count=3500 labelled=1500 out=gpm.safetensors",
                "equissl render photonics kind=p4m count=100 harmonics=2 out=p4m.safetensors",
            ),
        ),
    ),
)

VERBS = (
    Verb(
        "quickstart",
        "Train one small encoder twice, invariant and equivariant, audit both, write a report.",
        "equissl.cli.quickstart:run",
        keys=(
            Key("out", Path, "folder to write", Path("equissl-quickstart"), metavar="DIR"),
            _SEED,
            _DEVICE,
        ),
        examples=("equissl quickstart",),
    ),
    Verb(
        "pretrain",
        "Pretrain an encoder on a folder of images, without labels.",
        "equissl.cli.pretrain:pretrain",
        keys=(_DATA, _OUT, _RECIPE, *_REQUIREMENTS, _LABELS, _TRUST, *_RUNNING),
        settings=_RECIPE_SETTINGS,
        examples=(
            "equissl pretrain photos out=runs/first",
            "equissl pretrain photos out=runs/second recipe=equimod.simclr_cifar10",
            "equissl pretrain photos out=runs/third keep=hue,rotation ignore=crop,blur",
        ),
    ),
    Verb(
        "resume",
        "Continue a run from its last checkpoint, exactly; epochs=N may prolong it.",
        "equissl.cli.pretrain:resume",
        "RUN",
        keys=(_TRUST, *_RUNNING),
        settings=_RECIPE_SETTINGS,
        examples=("equissl resume runs/first", "equissl resume runs/first epochs=200"),
    ),
    Verb(
        "evaluate",
        "Score a run: linear probe, kNN, factors, equivariance measures, and more by name.",
        "equissl.cli.evaluate:evaluate",
        "RUN",
        keys=(
            Key("data", Path, "folder of images; the run's own data if absent", metavar="DIR"),
            Key("test", Path, "folder of test images; data= is then for training only", metavar="DIR"),
            _LABELS,
            Key(
                "evaluations",
                Names,
                "names from the list below, usual, or all",
                ("usual",),
                metavar="NAME,...",
                choices="equissl.cli.outline:evaluation_names",
            ),
            _COUNT,
            Key("steer", int, "images of the steering explorer (docs/steering.md); 0: none", 12),
            _SEED,
            _DEVICE,
            _TRUST,
        ),
        settings="equissl.cli.outline:evaluation_settings",
        more="equissl.cli.outline:evaluations",
        examples=(
            "equissl evaluate runs/first photos labels=folders",
            "equissl evaluate runs/first photos labels=folders evaluations=usual,fewshot",
            "equissl evaluate runs/first evaluations=sgdprobe,knn knn.k=200",
            "equissl evaluate runs/first flowers/train test=flowers/test labels=folders",
        ),
    ),
    Verb(
        "audit",
        "Which augmentation factors can be read from any encoder's features? Needs no labels.",
        "equissl.cli.evaluate:audit",
        "MODEL...",
        keys=(
            _NEEDED_DATA,
            Key("out", Path, "folder for scores.jsonl and report.html; absent: none", metavar="DIR"),
            _WEIGHTS,
            Key(
                "factors",
                Names,
                "which to audit; all if absent",
                (),
                metavar="FACTOR,...",
                choices="equissl.cli.outline:audited_factors",
            ),
            _SIZE,
            _COUNT,
            _SEED,
            _DEVICE,
            _TRUST,
        ),
        examples=(
            "equissl audit runs/first photos",
            "equissl audit runs/first runs/second photos out=audit",
            "equissl audit timm/resnet18 photos weights=resnet18.safetensors",
        ),
    ),
    Verb(
        "report",
        "Compare runs in one self-contained page.",
        "equissl.cli.report:run",
        "RUN...",
        keys=(Key("out", Path, "page to write; RUN/report.html if absent", metavar="FILE"),),
        examples=("equissl report runs/first runs/second out=comparison.html",),
    ),
    Verb(
        "study",
        "Pretrain and evaluate all cells of a study under one protocol; fill a table and a figure. "
        "Without a name: list the studies and their settings.",
        "equissl.cli.study:run",
        "[NAME]",
        keys=(
            Key("out", Path, "folder to write; the same command continues it", metavar="DIR"),
            Key("data", Path, "folder of images; the study's own data if absent", metavar="DIR"),
            _LABELS,
            Key("limit", int, "images of each split of data=DIR; 0: all", 0),
            Key("seeds", int, "runs per cell; more can be added later", 3),
            Key("only", Literal["all", "table"], "table: only tabulate the finished runs", "all"),
            _DEVICE,
            _TRUST,
        ),
        settings=_RECIPE_SETTINGS,
        more="equissl.cli.outline:studies",
        choices="equissl.cli.outline:study_names",
        examples=(
            "equissl study grid --help",
            "equissl study grid out=grid seeds=3",
            "equissl study grid photos out=grid labels=folders bases=simclr,byol epochs=20",
            "equissl study grid out=grid only=table",
        ),
    ),
    Verb(
        "embed",
        "Write the features of every image in a folder.",
        "equissl.cli.embed:run",
        "MODEL",
        keys=(
            _NEEDED_DATA,
            Key("out", Path, "a .npz or .csv file to write", required=True, metavar="FILE"),
            _WEIGHTS,
            _SIZE,
            _DEVICE,
            _TRUST,
        ),
        examples=("equissl embed runs/first photos out=features.npz",),
    ),
    Verb(
        "export",
        "Write the encoder as a folder that timm loads without equissl, or as ONNX.",
        "equissl.cli.export:run",
        "RUN",
        keys=(
            Key("out", Path, "folder to write; RUN/export if absent", metavar="DIR"),
            Key("format", Literal["timm", "onnx"], "safetensors, or ONNX (the extra `onnx`)", "timm"),
            _TRUST,
        ),
        examples=("equissl export runs/first", "equissl export runs/first format=onnx"),
    ),
    _RENDER,
    Verb(
        "download",
        "Download a published dataset. The same command continues an interrupted download.",
        "equissl.cli.download:run",
        "DATASET",
        keys=(
            _OUT,
            Key("sha256", str, "checksum of the archive; not checked if empty", ""),
            Key("url", str, "another address of the archive", metavar="URL"),
        ),
        choices=("3diebench",),
        examples=("equissl download 3diebench out=data",),
    ),
    Verb(
        "list",
        "List recipes, studies, methods, augmentations, datasets, evaluations, tasks, backbones.",
        "equissl.cli.listing:run",
        "[KIND]",
        keys=(Key("match", str, "pattern for backbones, such as resnet*", "*", metavar="PATTERN"),),
        choices=KINDS,
        examples=("equissl list", "equissl list recipes", "equissl list backbones match=vit_small*"),
    ),
    Verb(
        "check",
        "Check a folder of images, or preview augmented views of them, before any training.",
        "equissl.cli.check:run",
        keys=(
            _NEEDED_DATA,
            Key("views", Path, "page of example views to write: parameters, exact replay", metavar="FILE"),
            _RECIPE,
            *_REQUIREMENTS,
            Key("count", int, "images on the page", 8),
            _SEED,
            _TRUST,
        ),
        settings=_RECIPE_SETTINGS,
        examples=(
            "equissl check photos",
            "equissl check photos views=views.html recipe=equimod.simclr_cifar10",
            "equissl check photos views=views.html keep=hue ignore=crop,blur",
        ),
    ),
    Verb("doctor", "Show versions, devices and extras, and what is missing.", "equissl.cli.doctor:run"),
)

EQUISSL = Verb(
    "equissl",
    "Self-supervised image representations that keep what augmentations destroy.",
    verbs=VERBS,
    examples=("equissl quickstart", "equissl pretrain photos out=runs/first"),
)
