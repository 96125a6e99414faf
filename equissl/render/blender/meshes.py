"""Meshes to render, from a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from equissl.errors import UserError

SUFFIXES = (".obj", ".glb", ".gltf", ".ply")
_SHAPENET = ("models", "model_normalized.obj")


@dataclass(frozen=True)
class Mesh:
    """A mesh file, or a built-in mesh.

    Args:
        kind: class name: a synset for ShapeNet, otherwise the first folder.
        name: unique within the class, a valid folder name.
        path: the mesh, or None for a built-in one.
        normalised: already scaled as in ShapeNet (bounding-box diagonal 1).
    """

    kind: str
    name: str
    path: Path | None = None
    normalised: bool = False

    @property
    def owner(self) -> str:
        return f"{self.kind}/{self.name}"


def find_meshes(folder: Path) -> list[Mesh]:
    """All meshes below a folder, sorted: ``<class>/<anything>.obj``, or ShapeNetCore v2's
    ``<synset>/<id>/models/model_normalized.obj``; meshes outside of folders have class "object".

    Raises:
        UserError: there is no folder or no mesh in it.
    """
    if not folder.is_dir():
        raise UserError(f"meshes={str(folder)!r} is not a folder. Leave out meshes for the built-in ones")
    meshes: dict[str, Mesh] = {}
    for path, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            full_path = Path(path) / file
            if full_path.suffix.lower() not in SUFFIXES:
                continue
            mesh = _mesh(full_path, full_path.relative_to(folder).parts)
            if mesh.owner in meshes:
                other = meshes[mesh.owner].path
                raise UserError(
                    f"meshes: {str(full_path)!r} and {str(other)!r} are both named {mesh.owner!r}"
                )
            meshes[mesh.owner] = mesh
    if not meshes:
        raise UserError(f"meshes={str(folder)!r} has no files with suffix {', '.join(SUFFIXES)}")
    return [meshes[owner] for owner in sorted(meshes)]


def _mesh(path: Path, parts: tuple[str, ...]) -> Mesh:
    if parts[-2:] == _SHAPENET and len(parts) == 4:
        return Mesh(parts[0], parts[1], path, normalised=True)
    kind, *rest = (parts[:-1] or ("object",)) + (Path(parts[-1]).stem,)
    return Mesh(kind, "-".join(rest), path)
