"""The objects to render: every mesh in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from equissl.errors import UserError

SUFFIXES = (".obj", ".glb", ".gltf", ".ply")
_SHAPENET = ("models", "model_normalized.obj")


@dataclass(frozen=True)
class Mesh:
    """One object.

    Args:
        kind: its class: a synset for ShapeNet, otherwise the first folder.
        name: unique within the class, a valid folder name.
        path: the mesh, or None for a built-in one.
        normalised: already of the size that ShapeNet gives (the box's diagonal is 1).
    """

    kind: str
    name: str
    path: Path | None = None
    normalised: bool = False

    @property
    def owner(self) -> str:
        return f"{self.kind}/{self.name}"


def find_meshes(folder: Path) -> list[Mesh]:
    """Every mesh below a folder, sorted: ``<class>/<anything>.obj``, or ShapeNetCore v2's
    ``<synset>/<id>/models/model_normalized.obj``; meshes that lie in no folder are of class "object".

    Raises:
        UserError: there is no folder or no mesh in it.
    """
    if not folder.is_dir():
        raise UserError(f"meshes={str(folder)!r} is no folder; leave meshes out to use the built-in ones")
    found: dict[str, Mesh] = {}
    for path, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            place = Path(path) / file
            if place.suffix.lower() not in SUFFIXES:
                continue
            mesh = _mesh(place, place.relative_to(folder).parts)
            if mesh.owner in found:
                other = found[mesh.owner].path
                raise UserError(f"meshes: {str(place)!r} and {str(other)!r} would both be {mesh.owner!r}")
            found[mesh.owner] = mesh
    if not found:
        raise UserError(f"meshes={str(folder)!r} holds no file that ends in {', '.join(SUFFIXES)}")
    return [found[owner] for owner in sorted(found)]


def _mesh(path: Path, parts: tuple[str, ...]) -> Mesh:
    if parts[-2:] == _SHAPENET and len(parts) == 4:
        return Mesh(parts[0], parts[1], path, normalised=True)
    kind, *rest = (parts[:-1] or ("object",)) + (Path(parts[-1]).stem,)
    return Mesh(kind, "-".join(rest), path)
