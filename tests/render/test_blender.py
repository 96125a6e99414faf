"""Renders in 3DIEBench's layout: what is drawn, which meshes there are, and Blender itself where it is."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.cli.main import main
from equissl.data.threediebench import ThreeDIEBench
from equissl.errors import UserError
from equissl.params import euler_quaternion
from equissl.random import Stream
from equissl.render.blender import process as blender_process
from equissl.render.blender.built_in import BUILT_IN, built_in_meshes, write_built_in
from equissl.render.blender.dataset import read_failures, render
from equissl.render.blender.latents import Latents, euler_angles
from equissl.render.blender.meshes import Mesh, find_meshes
from equissl.render.blender.process import BlenderOptions, RenderSettings
from equissl.render.solids.scene import uniform_rotation

VIEWS = torch.arange(3000)

FAKE = """
import json, sys, time
from pathlib import Path
settings = json.loads(sys.stdin.readline())
print(json.dumps({"ready": "fake"}), flush=True)
png = bytes.fromhex(PNG)
for line in sys.stdin:
    job = json.loads(line)
    name = Path(job["mesh"]).read_text()
    if "dies" in name:
        sys.exit("out of memory")
    if "hangs" in name:
        time.sleep(60)
    if "broken" in name:
        print(json.dumps({"failed": "no faces"}), flush=True)
        continue
    for view in job["views"]:
        Path(view["png"]).write_bytes(png)
        print(json.dumps({"view": view["view"], "png": view["png"]}), flush=True)
    print(json.dumps({"done": True}), flush=True)
"""


def test_the_numbers_have_the_papers_ranges() -> None:
    drawn = Latents().sample("chair", "a", VIEWS)
    assert drawn.shape == (3000, 7) and drawn.dtype == torch.float64
    limits = [(-math.pi / 2, math.pi / 2)] * 3 + [(0, 1), (0, math.pi / 4), (0, 2 * math.pi), (0, 1)]
    for column, (low, high) in zip(drawn.T, limits, strict=True):
        assert low <= float(column.min()) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < float(column.max()) <= high
        assert float(column.mean()) == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    # Each number is a draw of its own, and each object has its own.
    assert torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max() < 0.08
    assert not torch.equal(drawn, Latents().sample("chair", "b", VIEWS))
    assert not torch.equal(drawn, Latents(seed=1).sample("chair", "a", VIEWS))
    assert torch.equal(drawn[[7, 3]], Latents().sample("chair", "a", torch.tensor([7, 3])))


def test_other_ranges() -> None:
    far = Latents(angles=(90, 180)).sample("a", "b", VIEWS)[:, :3].abs()
    assert math.pi / 2 <= float(far.min()) and float(far.max()) <= math.pi
    moved = Latents(shift=0.5).sample("a", "b", VIEWS)[:, 7:]
    assert moved.shape[1] == 3 and 0.49 < float(moved.abs().max()) <= 0.5
    turned = euler_quaternion(Latents(rotations="uniform").sample("a", "b", VIEWS)[:, :3])
    # Uniform over rotations: the mean of |w| is 4 / (3 pi).
    assert float(turned[:, 0].abs().mean()) == pytest.approx(4 / (3 * math.pi), abs=0.01)
    for wrong in (
        {"angles": (90, 30)},
        {"rotations": "haar"},
        {"shift": 2},
        {"rotations": "uniform", "angles": (0, 9)},
    ):
        with pytest.raises(UserError):
            Latents(**wrong)  # type: ignore[arg-type]


def test_angles_of_a_rotation_give_it_back() -> None:
    q = uniform_rotation(Stream.of(VIEWS, "q").uniform("r", 3)).double()
    again = euler_quaternion(euler_angles(q))
    assert float((q * again).sum(1).abs().min()) > 1 - 1e-6


def test_meshes_are_found(tmp_path: Path) -> None:
    shapenet = tmp_path / "02691156" / "abc" / "models"
    for path in (
        shapenet / "model_normalized.obj",
        tmp_path / "cup" / "one.GLB",
        tmp_path / "cup" / "two" / "m.ply",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (shapenet / "model_normalized.mtl").write_text("")
    found = {m.owner: m.normalised for m in find_meshes(tmp_path)}
    assert found == {"02691156/abc": True, "cup/one": False, "cup/two-m": False}
    (tmp_path / "flat.obj").write_text("")
    assert find_meshes(tmp_path)[-1].owner == "object/flat"
    (tmp_path / "cup" / "one.obj").write_text("")
    with pytest.raises(UserError, match="are both named 'cup/one'"):
        find_meshes(tmp_path)
    with pytest.raises(UserError, match="has no files"):
        find_meshes(
            shapenet.parent.parent.parent / "empty" if (tmp_path / "empty").mkdir() else tmp_path / "empty"
        )
    with pytest.raises(UserError, match="is not a folder"):
        find_meshes(tmp_path / "absent")


@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_built_in_meshes_are_whole_and_differ(kind: str, tmp_path: Path) -> None:
    seen = set()
    for number in range(3):
        path = write_built_in(Mesh(kind, str(number)), tmp_path / str(number), seed=0)
        lines = path.read_text().splitlines()
        points = np.array([line.split()[1:] for line in lines if line.startswith("v ")], dtype=float)
        faces = [[int(i) for i in line.split()[1:]] for line in lines if line.startswith("f ")]
        assert max(map(max, faces)) == len(points) and min(map(min, faces)) == 1
        extent = np.ptp(points, axis=0)
        assert (extent > 0.1).all() and np.isfinite(points).all()
        # Every face points away from the middle of its part: no hole, no face inside out.
        edges = [(a, b) for f in faces for a, b in zip(f, [*f[1:], f[0]], strict=True)]
        assert len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges)
        seen.add(tuple(extent))
    assert len(seen) == 3
    assert [m.kind for m in built_in_meshes(11)] == [*sorted(BUILT_IN), "arrow"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Blender, and a folder of "meshes" that name what it shall do."""
    from io import BytesIO

    buffer = BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 0)).save(buffer, "PNG")
    worker = tmp_path / "blender_worker.py"
    worker.write_text(FAKE.replace("PNG)", f"{buffer.getvalue().hex()!r})"))
    monkeypatch.setattr(blender_process, "WORKER", worker)
    folder = tmp_path / "meshes" / "thing"
    folder.mkdir(parents=True)
    for name in ("dies", "fine", "good", "hangs", "broken"):
        (folder / f"{name}.obj").write_text(name)
    return folder.parent


def test_failures_are_listed_and_the_rest_is_made(fake: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "out", BlenderOptions(timeout=1.0)
    made = render(find_meshes(fake), out, 2, settings=RenderSettings(size=8), options=options)
    assert (made.images, made.failed) == (4, 3)
    reasons = dict(read_failures(out))
    assert "out of memory" in reasons["thing/dies"] and "no faces" in reasons["thing/broken"]
    assert "within 1 seconds" in reasons["thing/hangs"]
    assert sorted(p.name for p in (out / "thing" / "good").iterdir()) == [
        "image_0.jpg",
        "image_1.jpg",
        "latent_0.npy",
        "latent_1.npy",
    ]
    # Nothing is tried or made again, but what is missing is.
    (out / "thing" / "fine" / "image_1.jpg").unlink()
    latents = np.load(out / "thing" / "fine" / "latent_1.npy")
    again = render(find_meshes(fake), out, 3, settings=RenderSettings(size=8), options=options)
    assert again.images == 3 and again.failed == 3
    assert np.array_equal(latents, np.load(out / "thing" / "fine" / "latent_1.npy"))
    with pytest.raises(UserError, match="size: 8 there, 16 now"):
        render(find_meshes(fake), out, 2, settings=RenderSettings(size=16))


def test_shards_make_the_same_images_as_one(fake: Path, tmp_path: Path) -> None:
    meshes, options = [m for m in find_meshes(fake) if m.name in ("fine", "good")], BlenderOptions(timeout=30)
    made = [render(meshes, tmp_path / "parts", 2, shard=(k, 3), options=options).images for k in range(3)]
    render(meshes[::-1], tmp_path / "whole", 2, options=options)
    assert sum(made) == 4
    for name in ("fine/latent_0.npy", "good/latent_1.npy", "good/image_1.jpg"):
        assert (tmp_path / "parts/thing" / name).read_bytes() == (
            tmp_path / "whole/thing" / name
        ).read_bytes()


def test_channels_can_be_swapped(fake: Path, tmp_path: Path) -> None:
    meshes = [m for m in find_meshes(fake) if m.name == "fine"]
    render(
        meshes,
        tmp_path / "bgr",
        1,
        settings=RenderSettings(channels="bgr"),
        options=BlenderOptions(timeout=30),
    )
    pixel = np.asarray(Image.open(tmp_path / "bgr/thing/fine/image_0.jpg"))[4, 4].tolist()
    assert pixel == pytest.approx([0, 100, 200], abs=3)


def test_the_verb_writes_what_the_reader_reads(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dies", "hangs"):
        (fake / "thing" / f"{name}.obj").unlink()
    words = [f"meshes={fake}", f"out={tmp_path / 'set'}", "views=3", "size=8", "shift=0.2", "timeout=30"]
    assert main(["render", "3diebench", *words]) == 0
    printed = capsys.readouterr().out
    assert "made 6 images now" in printed and "images per second" in printed and "1 objects failed" in printed
    with Image.open(tmp_path / "set" / "contact.jpg") as sheet:
        assert sheet.size == (3 * 98 - 2, 2 * 98 - 2)  # an object a row, a view a column
    data = ThreeDIEBench(path=str(tmp_path / "set"), size=8, shift=True)
    assert len(data.open("train")) == 3 == len(data.open("test"))
    assert (
        main(
            ["render", "3diebench", f"out={tmp_path / 'x'}", "shard=3/2", "angles=5", "size=1", "objects=-1"]
        )
        == 2
    )
    printed = capsys.readouterr().err
    assert all(
        text in printed for text in ("shard=3/2", "angles must be two", "size must be", "objects must be")
    )


def test_without_blender_the_message_says_what_to_do(tmp_path: Path) -> None:
    if importlib.util.find_spec("bpy"):
        pytest.skip("bpy is installed here")
    with pytest.raises(UserError, match=r"equissl\[render\].*python=PATH"):
        render(built_in_meshes(1), tmp_path, 1)


PYTHON = os.environ.get("EQUISSL_BLENDER_PYTHON", sys.executable if importlib.util.find_spec("bpy") else "")


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="needs bpy here or EQUISSL_BLENDER_PYTHON, an interpreter that has it")
def test_blender_renders_the_scene(tmp_path: Path) -> None:
    folder = tmp_path / "meshes" / "kind"
    whole = write_built_in(Mesh("car", "0"), folder, 0)
    (folder / "broken.ply").write_text("no mesh")
    (folder / "empty.obj").write_text("v 0 0 0\n")
    points = "\n".join(f"{x} {y} {z}" for x in (0, 3) for y in (0, 3) for z in (0, 3))
    header = "ply\nformat ascii 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    faces = "\n".join(["4 0 1 3 2", "4 4 6 7 5", "4 0 4 5 1", "4 2 3 7 6", "4 0 2 6 4", "4 1 5 7 3"])
    header += "element face 6\nproperty list uchar int vertex_indices\nend_header\n"
    (folder / "cube.ply").write_text(f"{header}{points}\n{faces}\n")
    made = render(
        find_meshes(tmp_path / "meshes"),
        tmp_path / "out",
        2,
        settings=RenderSettings(size=32, samples=4),
        options=BlenderOptions(python=PYTHON, timeout=300),
    )
    assert (made.images, made.failed) == (4, 2) and whole.exists()
    assert {owner for owner, _ in read_failures(tmp_path / "out")} == {"kind/broken", "kind/empty"}
    for name in ("mesh", "cube"):
        image = np.asarray(Image.open(tmp_path / "out" / "kind" / name / "image_0.jpg"), dtype=float)
        latents = np.load(tmp_path / "out" / "kind" / name / "latent_0.npy")
        corner = image[:3, :3].mean((0, 1))  # floor in white light: its hue is the third number
        import colorsys

        hue = colorsys.rgb_to_hsv(*(corner / 255))[0]
        assert abs((hue - latents[3] + 0.5) % 1 - 0.5) < 0.06
        assert image[8:24, 8:24].std() > 5
    assert json.loads((tmp_path / "out" / "3diebench.json").read_text())["size"] == 32
