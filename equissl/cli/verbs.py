"""The table of verbs: what each does, what it accepts, and where it is implemented."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from equissl.cli.arguments import Key, Verb

_DATA = Key("data", Path, "folder of images (nested or flat)")
_OUT = Key("out", Path, "where to write")
_DEVICE = Key("device", str, "auto, cpu or cuda", "auto")
_SEED = Key("seed", int, "of every random choice", 0)
_COUNT = Key("count", int, "images looked at", 1000)
_LABELS = Key("labels", str, "none, folders (first level), or a csv file with columns file,label", "none")
_TRUST = Key("trust", tuple[str, ...], "packages outside equissl whose code a run may name", ())

_RUNNING = (
    Key("device", str, "auto, cpu or cuda", "auto"),
    Key("devices", int, "how many processes share a batch", 1),
    Key("loggers", tuple[str, ...], "tensorboard, wandb, mlflow; or [] for none", ("tensorboard",)),
    Key("log_every", int, "steps between logged rows", 10),
    Key("save_every", int, "steps between checkpoints; 0: every five minutes and at the end", 0),
    Key("stop_after", int, "stop after this step as if interrupted; 0: never", 0),
)
_WISH = (
    Key("keep", tuple[str, ...], "factors to keep, such as hue,rotation; a recipe is made for them", ()),
    Key("ignore", tuple[str, ...], "factors to ignore, such as crop,blur; SimCLR's if absent", ()),
)

VERBS = (
    Verb(
        "quickstart",
        "Train the same small encoder twice, invariant and equivariant, audit both, write a report.",
        "equissl.cli.quickstart:run",
        keys=(Key("out", Path, "folder to write", Path("equissl-quickstart")), _SEED, _DEVICE),
        examples=("equissl quickstart",),
    ),
    Verb(
        "pretrain",
        "Pretrain an encoder on a folder of images, without labels.",
        "equissl.cli.pretrain:pretrain",
        keys=(
            _DATA,
            Key("out", Path, "run folder to write", required=True),
            Key("recipe", str, "a recipe's name (equissl list recipes), module:function; chosen if absent"),
            *_WISH,
            _LABELS,
            _TRUST,
            *_RUNNING,
        ),
        settings=True,
        examples=(
            "equissl pretrain data=photos out=runs/first",
            "equissl pretrain data=photos out=runs/second recipe=equimod.simclr_cifar10 epochs=10",
            "equissl pretrain data=photos out=runs/third keep=hue,rotation ignore=crop,blur",
        ),
    ),
    Verb(
        "resume",
        "Continue a run from its last checkpoint, exactly; epochs=N may prolong it.",
        "equissl.cli.pretrain:resume",
        things="RUN",
        keys=(_TRUST, *_RUNNING),
        settings=True,
        examples=("equissl resume runs/first", "equissl resume runs/first epochs=200"),
    ),
    Verb(
        "evaluate",
        "Score a run: linear probe, kNN, factors, equivariance measures, and more by name.",
        "equissl.cli.evaluate:evaluate",
        things="RUN",
        keys=(
            Key("data", Path, "folder of images (nested or flat); the run's own data if absent"),
            Key("test", Path, "another folder for the test images; all of data= is then for training"),
            _LABELS,
            Key("evaluations", tuple[str, ...], "names from the list below, usual, or all", ("usual",)),
            _COUNT,
            Key("steer", int, "images of the steering explorer (see docs/steering.md); 0: none", 12),
            _SEED,
            _DEVICE,
            _TRUST,
        ),
        settings=True,
        more="equissl.cli.outline:evaluations",
        examples=(
            "equissl evaluate runs/first data=photos labels=folders",
            "equissl evaluate runs/first data=photos labels=folders evaluations=usual,fewshot,finetune",
            "equissl evaluate runs/first evaluations=sgdprobe,knn sgdprobe.rates=30 knn.k=200",
            "equissl evaluate runs/first data=flowers/train test=flowers/test labels=folders",
        ),
    ),
    Verb(
        "audit",
        "Which augmentation factors can be read from any encoder's features? Needs no labels.",
        "equissl.cli.evaluate:audit",
        things="MODEL...",
        keys=(
            Key("data", Path, "folder of images (nested or flat)", required=True),
            Key("out", Path, "folder for scores.jsonl and report.html; nothing is written if absent"),
            Key("weights", Path, "local weight file for a timm/NAME model; random ones if absent"),
            Key("factors", tuple[str, ...], "which to audit; all if absent", ()),
            Key("size", int, "side of the images in pixels; 0: the run's, or 224", 0),
            _COUNT,
            _SEED,
            _DEVICE,
            _TRUST,
        ),
        examples=(
            "equissl audit runs/first data=photos",
            "equissl audit timm/resnet18 data=photos weights=resnet18.safetensors",
        ),
    ),
    Verb(
        "report",
        "Compare runs in one self-contained page.",
        "equissl.cli.report:run",
        things="RUN...",
        keys=(Key("out", Path, "page to write; RUN/report.html if absent"),),
        examples=("equissl report runs/first runs/second out=comparison.html",),
    ),
    Verb(
        "study",
        "Run a set of pretrainings under one protocol; fill a table and a figure. "
        "No name: list studies and their settings.",
        "equissl.cli.study:run",
        things="NAME",
        optional=True,
        keys=(
            Key("out", Path, "folder to write; the same command goes on where it stopped"),
            Key("data", Path, "folder of images; the study's own data if absent"),
            _LABELS,
            Key("limit", int, "images of each split of data=DIR; 0: all", 0),
            Key("seeds", int, "runs per cell; further ones can be added later", 3),
            Key("only", Literal["all", "table"], "table: only tabulate the runs that are done", "all"),
            _DEVICE,
            _TRUST,
        ),
        settings=True,
        examples=(
            "equissl study grid out=grid seeds=3",
            "equissl study grid out=photos-grid data=photos labels=folders bases=simclr,byol epochs=20",
            "equissl study grid out=grid only=table",
        ),
    ),
    Verb(
        "embed",
        "Write the features of every image in a folder.",
        "equissl.cli.embed:run",
        things="MODEL",
        keys=(
            Key("data", Path, "folder of images", required=True),
            Key("out", Path, "a .npz or .csv file to write", required=True),
            Key("weights", Path, "local weight file for a timm/NAME model; random ones if absent"),
            Key("size", int, "side of the images in pixels; 0: the run's, or 224", 0),
            _DEVICE,
            _TRUST,
        ),
        examples=("equissl embed runs/first data=photos out=features.npz",),
    ),
    Verb(
        "export",
        "Write the encoder as a folder that timm loads without equissl (or as ONNX).",
        "equissl.cli.export:run",
        things="RUN",
        keys=(
            Key("out", Path, "folder to write; RUN/export if absent"),
            Key("format", Literal["timm", "onnx"], "timm (safetensors) or onnx (the extra)", "timm"),
            _TRUST,
        ),
        examples=("equissl export runs/first", "equissl export runs/first format=onnx"),
    ),
    Verb(
        "render",
        "Make a benchmark: solids with known factors, 3DIEBench, or photonic crystals with their spectra.",
        kinds=(
            Verb(
                "render solids",
                "Render solids into a folder of images with known factors.",
                "equissl.cli.render:solids",
                keys=(
                    Key("out", Path, "folder to write", required=True),
                    Key("objects", int, "how many objects", 400),
                    Key("views", int, "images per object", 10),
                    Key("size", int, "side in pixels", 64),
                    _SEED,
                ),
                examples=("equissl render solids out=solids objects=100 views=8 size=128",),
            ),
            Verb(
                "render 3diebench",
                "Render meshes with Blender in 3DIEBench's layout; started again it goes on where it was.",
                "equissl.cli.render_3diebench:run",
                keys=(
                    Key("out", Path, "folder to write", required=True),
                    Key(
                        "meshes", Path, "folder of .obj, .glb, .ply (ShapeNetCore v2 too); built-in if absent"
                    ),
                    Key("objects", int, "how many objects; 0: all (100 built-in ones)", 0),
                    Key("views", int, "images per object", 50),
                    Key("size", int, "side in pixels", 256),
                    Key("samples", int, "most light paths per pixel", 100),
                    Key("rotations", str, "euler (3DIEBench's) or uniform over all rotations", "euler"),
                    Key("angles", tuple[float, ...], "least and most of each Euler angle, degrees", (0, 90)),
                    Key("shift", float, "most that an object is moved along an axis, in its sizes", 0.0),
                    Key("channels", Literal["rgb", "bgr"], "bgr: as the original's code wrote them", "rgb"),
                    _SEED,
                    Key(
                        "shard",
                        str,
                        "k/n: only the k-th of n parts, so that n processes share the work",
                        "0/1",
                    ),
                    Key(
                        "device",
                        Literal["cpu", "cuda", "optix", "hip", "metal", "oneapi"],
                        "of Blender's Cycles",
                        "cpu",
                    ),
                    Key("threads", int, "of Blender; 0: one per core", 0),
                    Key(
                        "timeout", float, "seconds without an image after which an object is given up", 600.0
                    ),
                    Key("python", str, "an interpreter that has bpy, if this one has not", ""),
                ),
                examples=(
                    "equissl render 3diebench out=renders objects=20 views=10 size=128 samples=32",
                    "equissl render 3diebench meshes=ShapeNetCore.v2 out=3DIEBench shard=0/8",
                    "equissl render 3diebench out=ood angles=90,180",
                ),
            ),
            Verb(
                "render photonics",
                "Draw photonic crystals and compute their densities of states; started again it goes on.",
                "equissl.cli.render:photonics",
                keys=(
                    Key("kind", str, "blob, gpm, or one of the 17 plane groups (p1 ... p6m)", required=True),
                    Key("count", int, "how many cells", required=True),
                    Key("out", Path, "file to write", required=True),
                    Key("labelled", int, "the last so many get a density of states; -1: all", -1),
                    Key("size", int, "side of a cell in pixels, even", 32),
                    Key("harmonics", int, "of a level set; 0: the fewest that show its group", 0),
                    Key("polarisation", str, "tm or te", "tm"),
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
        examples=(
            "equissl render solids out=solids objects=100",
            "equissl render photonics kind=blob count=100 out=blob.safetensors",
        ),
    ),
    Verb(
        "download",
        "Fetch a published dataset's files; an interrupted download goes on where it was.",
        "equissl.cli.download:run",
        things="3diebench",
        keys=(
            Key("out", Path, "folder to write", required=True),
            Key("sha256", str, "refuse an archive with another checksum; not checked if empty", ""),
            Key("url", str, "fetch the archive from here instead"),
        ),
        examples=("equissl download 3diebench out=data",),
    ),
    Verb(
        "list",
        "What there is: recipes, studies, bases, equivariance, augmentations, datasets, evaluations, tasks.",
        "equissl.cli.listing:run",
        things="KIND",
        optional=True,
        keys=(Key("match", str, "pattern for backbones, such as resnet*", "*"),),
        examples=("equissl list", "equissl list recipes", "equissl list backbones match=vit_small*"),
    ),
    Verb(
        "check",
        "Look at a folder of images, or at views of them, before any training.",
        "equissl.cli.check:run",
        things="DIR",
        keys=(
            Key("views", Path, "page of example views to write: parameters, units, exact replay"),
            Key("recipe", str, "whose views; the one that pretrain would choose if absent"),
            *_WISH,
            Key("count", int, "images on the page", 8),
            _SEED,
            _TRUST,
        ),
        settings=True,
        examples=(
            "equissl check photos",
            "equissl check photos views=views.html recipe=equimod.simclr_cifar10",
            "equissl check photos views=views.html keep=hue ignore=crop,blur",
        ),
    ),
    Verb("doctor", "Report the environment and what is missing.", "equissl.cli.doctor:run"),
)
