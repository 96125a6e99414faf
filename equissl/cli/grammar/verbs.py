"""The table of verbs: what each does, what it accepts, and where it is implemented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from equissl.cli.grammar.arguments import Key, Verb
from equissl.config.validation import MAX_SEED

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

_OUT = Key("out=DIR", "folder to write", required=True)
_OUT_FILE = Key("out=FILE", "file to write", required=True)
_DATA = Key("data=DIR", "folder of images, or a table of them: .csv, .jsonl, .parquet")
_NEEDED_DATA = replace(_DATA, required=True)
_LABELS = Key(
    "labels=none|folders|FILE",
    "none, folders (first level), a csv file with the columns file,label, or a table's column",
    "none",
)
_LIMIT = Key("limit=N", "images of each split of data=DIR; 0: all", 0)
_DEVICE = Key("device=auto|cpu|cuda", "where torch computes", "auto")
_SEED = Key("seed=N", "of every random choice", 0, high=MAX_SEED)
_COUNT = Key("count=N", "number of images", 1000, low=1)
_WEIGHTS = Key("weights=FILE", "weights of timm/NAME, as timm/NAME@FILE; random ones if absent")
_INPUTS = (
    Key("mean=R,G,B", "of images in [0, 1], per channel; the model's own if absent", ()),
    Key("std=R,G,B", "likewise", ()),
)
_SIZE = Key("size=N", "side of the images in pixels; 0: the model's own", 0)
_TRUST = Key(
    "trust=PACKAGE,...",
    "packages whose code a stored file may run; equissl: downloads, pickles (SECURITY.md)",
    (),
)
_RECIPE = Key(
    "recipe=NAME",
    "a name from `equissl list recipes`, or module:function; chosen for the images if absent",
    choices="recipes",
)
_REQUIREMENTS = (
    Key("keep=FACTOR,...", "factors that features keep; makes a recipe", (), choices="factors"),
    Key("ignore=FACTOR,...", "factors that features ignore; SimCLR's if absent", (), choices="factors"),
)
_STEPS = (
    Key("log_every=N", "steps between logged rows", 10, low=1),
    Key("save_every=N", "steps between checkpoints; 0: every five minutes and at the end", 0),
    Key("stop_after=N", "stop after this step as if interrupted; 0: never", 0),
)
_RUNNING = (
    _DEVICE,
    Key("devices=N", "number of processes that share a batch", 1, low=1),
    Key(
        "loggers=NAME,...",
        "tensorboard, wandb, mlflow, or [] for none; log.jsonl is always written",
        ("tensorboard",),
        choices=("tensorboard", "wandb", "mlflow"),
    ),
    *_STEPS,
)

_RESUMING = (
    _DEVICE,
    *(replace(key, help=f"{key.help}; the run's own if absent", default=None) for key in _RUNNING[1:]),
)

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
            "render:solids",
            keys=(
                _OUT,
                Key("objects=N", "number of objects", 400, low=1),
                Key("views=N", "images per object", 10, low=1),
                Key("size=N", "side in pixels", 64, low=1),
                _SEED,
            ),
            examples=("equissl render solids out=solids objects=100 views=8 size=128",),
        ),
        Verb(
            "render 3diebench",
            "Render meshes with Blender in 3DIEBench's layout. The same command continues where it stopped.",
            "render_3diebench:run",
            keys=(
                _OUT,
                Key("meshes=DIR", "folder of .obj, .glb, .ply or ShapeNetCore v2; built-in if absent"),
                Key("objects=N", "number of objects; 0: all (100 built-in ones)", 0),
                Key("views=N", "images per object", 50, low=1),
                Key("size=N", "side in pixels", 256, low=1),
                Key("samples=N", "maximum number of light paths per pixel", 100),
                Key("rotations=euler|uniform", "3DIEBench's, or uniform over SO(3)", "euler"),
                Key("angles=MIN,MAX", "range of each Euler angle in degrees", (0, 90)),
                Key("shift=X", "maximum translation along an axis, in object sizes", 0.0),
                Key("channels=rgb|bgr", "bgr: as the original's code wrote them", "rgb"),
                _SEED,
                Key("shard=k/n", "render the k-th of n parts (0 <= k < n)", "0/1"),
                Key("device=cpu|cuda|optix|hip|metal|oneapi", "of Blender's Cycles", "cpu"),
                Key("threads=N", "of Blender; 0: one per core", 0),
                Key("timeout=X", "seconds without an image until an object is given up", 600.0),
                Key("python=PROGRAM", "an interpreter with bpy, if this one has none", ""),
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
            "render:photonics",
            keys=(
                Key("kind=NAME", "blob, gpm, or one of the 17 plane groups (p1 ... p6m)", required=True),
                Key("count=N", "number of cells", required=True),
                _OUT_FILE,
                Key("labelled=N", "number of cells with a density of states (the last); -1: all", -1, low=-1),
                Key("size=N", "side of a cell in pixels, even", 32),
                Key("harmonics=N", "of a level set; 0: the fewest that show its group", 0),
                Key("polarisation=tm|te", "of the waves", "tm"),
                Key("order=N", "plane waves up to this number along each axis", 5),
                Key("grid=N", "k-points along each axis, odd", 25),
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
        "quickstart:run",
        keys=(Key("out=DIR", "folder to write", Path("equissl-quickstart")), _SEED, _DEVICE),
        examples=("equissl quickstart",),
    ),
    Verb(
        "pretrain",
        "Pretrain an encoder on a folder of images, without labels.",
        "pretrain:pretrain",
        keys=(_DATA, _OUT, _RECIPE, *_REQUIREMENTS, _LABELS, _TRUST, *_RUNNING),
        settings="recipe",
        examples=(
            "equissl pretrain photos out=runs/first",
            "equissl pretrain photos out=runs/second recipe=equimod.simclr_cifar10",
            "equissl pretrain photos out=runs/third keep=hue,rotation ignore=crop,blur",
        ),
    ),
    Verb(
        "resume",
        "Continue a run from its last checkpoint, exactly; epochs=N may prolong it.",
        "pretrain:resume",
        "RUN",
        keys=(_TRUST, *_RESUMING),
        settings="recipe",
        examples=("equissl resume runs/first", "equissl resume runs/first epochs=200"),
    ),
    Verb(
        "evaluate",
        "Score a run: linear probe, kNN, factors, equivariance measures, and more by name.",
        "evaluate:evaluate",
        "RUN",
        keys=(
            Key("data=DIR", "folder of images; the run's own data if absent"),
            Key("test=DIR", "folder of test images; data= is then for training only"),
            _LABELS,
            _LIMIT,
            Key(
                "evaluations=NAME,...",
                "names from the list below, usual, all, or a paper's protocol (below)",
                ("usual",),
                choices="evaluations",
            ),
            Key("count=N", "test images; 0: all images of both splits", 1000),
            Key("train_count=N", "training images; 0: all; -1: ten times count, at most 10,000", -1, low=-1),
            Key("steer=N", "images of the steering explorer (docs/steering.md); 0: none", 12),
            _SEED,
            _DEVICE,
            _TRUST,
        ),
        settings="evaluations",
        examples=(
            "equissl evaluate runs/first photos labels=folders",
            "equissl evaluate runs/first photos labels=folders evaluations=usual,fewshot",
            "equissl evaluate runs/first evaluations=sgdprobe,knn knn.k=200",
            "equissl evaluate runs/first evaluations=essl count=0",
            "equissl evaluate runs/first flowers/train test=flowers/test labels=folders",
        ),
    ),
    Verb(
        "audit",
        "Which augmentation factors can be read from any encoder's features? Needs no labels.",
        "evaluate:audit",
        "MODEL...",
        keys=(
            _NEEDED_DATA,
            Key("out=DIR", "folder for report.html, audit.json and rows; absent: none"),
            _WEIGHTS,
            Key("factors=FACTOR,...", "which to audit; all if absent", (), choices="audits"),
            Key("layer=NAME,...", "layers to read besides the output; all: four to six depths", ()),
            _SIZE,
            *_INPUTS,
            Key("minutes=X", "for which count, draws and untrained are chosen; 0: any time", 10.0, low=0),
            Key("count=N", "number of images, at least 40; absent: at most 400", None, low=40),
            Key("draws=N", "times each factor changes each image; absent: 2 or 1", None, low=1),
            Key("untrained=N", "networks with random weights to compare with; absent: 4 or 3", None, low=0),
            Key("precision=X", "noise added to features, in their deviations between images", 0.01, low=0),
            Key("equivariance=true|false", "also how features change with images; twice the time", False),
            _SEED,
            _DEVICE,
            _TRUST,
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
    ),
    Verb(
        "repair",
        "Fine-tune an encoder until forgotten factors can be read again, with an audit before and after. "
        "The same command continues where it stopped.",
        "repair:run",
        "MODEL",
        keys=(
            _NEEDED_DATA,
            Key("keep=FACTOR,...", "factors that features are to hold", (), choices="factors"),
            _OUT,
            Key("test=DIR", "folder of held-out images; absent: a fifth of data=, or its test split"),
            _LABELS,
            _LIMIT,
            _WEIGHTS,
            _SIZE,
            *_INPUTS,
            Key("factors=FACTOR,...", "which to audit; all if absent", (), choices="audits"),
            Key("count=N", "number of images of the audits, at least 40", 400, low=40),
            Key("draws=N", "times that each image is changed by each factor", 1, low=1),
            Key("untrained=N", "networks of its kind with random weights to compare with", 3, low=0),
            _SEED,
            _TRUST,
            _DEVICE,
            *_STEPS,
        ),
        settings="recipe",
        examples=(
            "equissl repair runs/first photos keep=hue out=runs/first-hue",
            "equissl repair timm/resnet18@moco.pth photos keep=hue,crop out=repaired",
        ),
    ),
    Verb(
        "report",
        "Compare runs in one self-contained page.",
        "report:run",
        "RUN...",
        keys=(Key("out=FILE", "page to write; RUN/report.html if absent"),),
        examples=("equissl report runs/first runs/second out=comparison.html",),
    ),
    Verb(
        "study",
        "Pretrain and evaluate all cells of a study under one protocol; fill a table and a figure. "
        "Without a name: list the studies and their settings.",
        "study:run",
        "[NAME]",
        keys=(
            Key("out=DIR", "folder to write; the same command continues it"),
            Key("data=DIR", "folder of images; the study's own data if absent"),
            _LABELS,
            _LIMIT,
            Key("seeds=N", "runs per cell; more can be added later", 3, low=1),
            Key("only=all|table", "table: only tabulate the finished runs", "all"),
            _DEVICE,
            _TRUST,
        ),
        settings="study",
        choices="studies",
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
        "embed:run",
        "MODEL",
        keys=(
            _NEEDED_DATA,
            Key("out=FILE", "a .npz or .csv file to write", required=True),
            _WEIGHTS,
            _SIZE,
            *_INPUTS,
            _SEED,
            _DEVICE,
            _TRUST,
        ),
        examples=(
            "equissl embed runs/first photos out=features.npz",
            "equissl embed timm/resnet50@pretrained photos out=features.npz",
        ),
    ),
    Verb(
        "subspace",
        "Write the directions of the features that carry a factor, and say what is left without them.",
        "subspace:run",
        "MODEL",
        keys=(
            _NEEDED_DATA,
            Key("factor=FACTOR", "what to look for, such as hue", required=True, choices="audits"),
            Key("out=FILE", "a .npz file to write", required=True),
            Key("factors=FACTOR,...", "others, to see what they lose", (), choices="audits"),
            _LABELS,
            _WEIGHTS,
            _SIZE,
            *_INPUTS,
            Key("count=N", "number of images, at least 40", 400, low=40),
            _SEED,
            _DEVICE,
            _TRUST,
        ),
        examples=(
            "equissl subspace runs/first photos factor=hue out=hue.npz",
            "equissl subspace timm/resnet50@pretrained photos factor=hue out=hue.npz",
        ),
    ),
    Verb(
        "export",
        "Write the encoder as a folder that timm loads without equissl, or as ONNX.",
        "export:run",
        "MODEL",
        keys=(
            Key("out=DIR", "folder to write; RUN/export if absent"),
            Key("format=timm|onnx", "safetensors, or ONNX (the extra `onnx`)", "timm"),
            Key("opset=N", "version of ONNX's operators; 0: torch's default", 0),
            _WEIGHTS,
            _SIZE,
            *_INPUTS,
            _SEED,
            _TRUST,
        ),
        examples=(
            "equissl export runs/first",
            "equissl export runs/first format=onnx",
            "equissl export timm/resnet50@pretrained out=resnet50",
        ),
    ),
    _RENDER,
    Verb(
        "download",
        "Download a published dataset. The same command continues an interrupted download.",
        "download:run",
        "DATASET",
        keys=(
            _OUT,
            Key("sha256=TEXT", "checksum of the archive; not checked if empty", ""),
            Key("url=URL", "another address of the archive"),
        ),
        choices=("3diebench",),
        examples=("equissl download 3diebench out=data",),
    ),
    Verb(
        "list",
        "List recipes, studies, methods, augmentations, datasets, evaluations, tasks, backbones.",
        "listing:run",
        "[KIND]",
        keys=(Key("match=PATTERN", "pattern for backbones, such as resnet*", "*"),),
        choices=KINDS,
        examples=("equissl list", "equissl list recipes", "equissl list backbones match=vit_small*"),
    ),
    Verb(
        "check",
        "Check a folder of images, or preview augmented views of them, before any training.",
        "check:run",
        keys=(
            _NEEDED_DATA,
            Key("views=FILE", "page of example views to write: parameters, exact replay"),
            _RECIPE,
            *_REQUIREMENTS,
            Key("count=N", "images on the page", 8, low=1),
            _SEED,
            _TRUST,
        ),
        settings="recipe",
        examples=(
            "equissl check photos",
            "equissl check photos.csv data.group=plant data.factors=ripeness:real",
            "equissl check photos views=views.html recipe=equimod.simclr_cifar10",
            "equissl check photos views=views.html keep=hue ignore=crop,blur",
        ),
    ),
    Verb(
        "replay-step",
        "Make one step of a run again: losses, what is not finite first, its images and views.",
        "replay_step:run",
        "RUN",
        keys=(
            Key("step=N", "the step, from 1, as messages and log.jsonl name it", required=True),
            Key("out=FILE", "csv file of the images and their views; absent: the terminal"),
            _DEVICE,
            _TRUST,
        ),
        examples=("equissl replay-step runs/first step=120",),
    ),
    Verb("doctor", "Show versions, devices and extras, and what is missing.", "doctor:run"),
)

EQUISSL = Verb(
    "equissl",
    "Self-supervised image representations that keep what augmentations destroy.",
    verbs=VERBS,
    examples=("equissl quickstart", "equissl pretrain photos out=runs/first"),
)
