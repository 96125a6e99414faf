"""The table of verbs: what each does, what it accepts, and where it is implemented."""

from __future__ import annotations

from pathlib import Path

from equissl.cli.grammar.arguments import Key, Verb
from equissl.cli.grammar.encoder_verbs import AUDIT, EMBED, EXPORT, REPAIR, SUBSPACE
from equissl.cli.grammar.keys import (
    DATA,
    DEVICE,
    LABELS,
    LIMIT,
    NEEDED_DATA,
    OUT,
    RECIPE,
    REQUIREMENTS,
    RESUMING,
    RUNNING,
    SEED,
    TRUST,
)
from equissl.cli.grammar.render_verbs import RENDER

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

VERBS = (
    Verb(
        "quickstart",
        "Train one small encoder twice, invariant and equivariant, audit both, write a report.",
        "quickstart:run",
        keys=(Key("out=DIR", "folder to write", Path("equissl-quickstart")), SEED, DEVICE),
        examples=("equissl quickstart",),
    ),
    Verb(
        "pretrain",
        "Pretrain an encoder on a folder of images, without labels.",
        "pretrain:pretrain",
        keys=(DATA, OUT, RECIPE, *REQUIREMENTS, LABELS, TRUST, *RUNNING),
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
        keys=(TRUST, *RESUMING),
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
            LABELS,
            LIMIT,
            Key(
                "evaluations=NAME,...",
                "names from the list below, usual, all, or a paper's protocol (below)",
                ("usual",),
                choices="evaluations",
            ),
            Key("count=N", "test images; 0: all images of both splits", 1000),
            Key("train_count=N", "training images; 0: all; -1: ten times count, at most 10,000", -1, low=-1),
            Key("steer=N", "images of the steering explorer (docs/steering.md); 0: none", 12),
            SEED,
            DEVICE,
            TRUST,
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
    AUDIT,
    REPAIR,
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
            LABELS,
            LIMIT,
            Key("seeds=N", "runs per cell; more can be added later", 3, low=1),
            Key("only=all|table", "table: only tabulate the finished runs", "all"),
            DEVICE,
            TRUST,
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
    EMBED,
    SUBSPACE,
    EXPORT,
    RENDER,
    Verb(
        "download",
        "Download a published dataset. The same command continues an interrupted download.",
        "download:run",
        "DATASET",
        keys=(
            OUT,
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
            NEEDED_DATA,
            Key("views=FILE", "page of example views to write: parameters, exact replay"),
            RECIPE,
            *REQUIREMENTS,
            Key("count=N", "images on the page", 8, low=1),
            SEED,
            TRUST,
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
            DEVICE,
            TRUST,
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
