"""Verbs that render benchmarks."""

from __future__ import annotations

from equissl.cli.grammar.arguments import Key, Verb
from equissl.cli.grammar.keys import DEVICE, OUT, OUT_FILE, SEED

RENDER = Verb(
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
                OUT,
                Key("objects=N", "number of objects", 400, low=1),
                Key("views=N", "images per object", 10, low=1),
                Key("size=N", "side in pixels", 64, low=1),
                SEED,
            ),
            examples=("equissl render solids out=solids objects=100 views=8 size=128",),
        ),
        Verb(
            "render 3diebench",
            "Render meshes with Blender in 3DIEBench's layout. The same command continues where it stopped.",
            "render_3diebench:run",
            keys=(
                OUT,
                Key("meshes=DIR", "folder of .obj, .glb, .ply or ShapeNetCore v2; built-in if absent"),
                Key("objects=N", "number of objects; 0: all (100 built-in ones)", 0),
                Key("views=N", "images per object", 50, low=1),
                Key("size=N", "side in pixels", 256, low=1),
                Key("samples=N", "maximum number of light paths per pixel", 100),
                Key("rotations=euler|uniform", "3DIEBench's, or uniform over SO(3)", "euler"),
                Key("angles=MIN,MAX", "range of each Euler angle in degrees", (0, 90)),
                Key("shift=X", "maximum translation along an axis, in object sizes", 0.0),
                Key("channels=rgb|bgr", "bgr: as the original's code wrote them", "rgb"),
                SEED,
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
                OUT_FILE,
                Key("labelled=N", "number of cells with a density of states (the last); -1: all", -1, low=-1),
                Key("size=N", "side of a cell in pixels, even", 32),
                Key("harmonics=N", "of a level set; 0: the fewest that show its group", 0),
                Key("polarisation=tm|te", "of the waves", "tm"),
                Key("order=N", "plane waves up to this number along each axis", 5),
                Key("grid=N", "k-points along each axis, odd", 25),
                SEED,
                DEVICE,
            ),
            examples=(
                "equissl render photonics kind=gpm count=3500 labelled=1500 out=gpm.safetensors",
                "equissl render photonics kind=p4m count=100 harmonics=2 out=p4m.safetensors",
            ),
        ),
    ),
)
