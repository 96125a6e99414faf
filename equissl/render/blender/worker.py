"""Renders with Blender in a process of its own; run by ``equissl.render.blender.dataset``, never imported.

It needs ``bpy`` and nothing else, so it may run in another environment than the rest. One line of JSON on
stdin per object, one on stdout per image. The scene is that of 3DIEBench (arXiv:2302.10283, its generator):
floor, sun, spot light and camera.
"""

from __future__ import annotations

import colorsys
import json
import math
import os
import sys
from typing import Any

import bpy
from mathutils import Euler, Matrix, Vector

CAMERA = (0.0, 1.7677669, 1.7677669)  # 2.5 away, 45 degrees above the floor
FIELD_OF_VIEW = 0.691111
SPOT_DISTANCE, SPOT_ENERGY, SPOT_CONE = 4.0, 500.0, math.pi / 8


def make_scene(job: dict[str, Any]) -> dict[str, Any]:
    """The empty studio; returns the objects that change from image to image, by name."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles, render = scene.cycles, scene.render
    cycles.samples, cycles.use_adaptive_sampling, cycles.adaptive_threshold = job["samples"], True, 0.01
    cycles.use_denoising = True
    cycles.max_bounces = cycles.diffuse_bounces = 3
    cycles.glossy_bounces = cycles.transmission_bounces = 0
    cycles.transparent_max_bounces = 8
    use_device(job["device"], cycles)
    render.resolution_x = render.resolution_y = job["size"]
    render.resolution_percentage = 100
    render.use_persistent_data = True
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
    if job["threads"]:
        render.threads_mode, render.threads = "FIXED", job["threads"]
    scene.view_settings.view_transform = "Filmic"

    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.05, 0.05, 0.05, 1)
    scene.world = world

    bpy.ops.mesh.primitive_plane_add(size=10000, location=(0, 0, -1))
    floor = bpy.data.materials.new("floor")
    floor.use_nodes = True
    nodes = floor.node_tree.nodes
    nodes.clear()
    diffuse, output = nodes.new("ShaderNodeBsdfDiffuse"), nodes.new("ShaderNodeOutputMaterial")
    floor.node_tree.links.new(diffuse.outputs["BSDF"], output.inputs["Surface"])
    bpy.context.object.data.materials.append(floor)

    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle = 1.5, math.pi / 2
    link("sun", sun)
    spot = bpy.data.lights.new("spot", "SPOT")
    spot.energy, spot.spot_size = SPOT_ENERGY, SPOT_CONE
    camera = bpy.data.cameras.new("camera")
    camera.angle = FIELD_OF_VIEW
    scene.camera = link("camera", camera)
    aim(scene.camera, Vector(CAMERA))
    return {"floor": diffuse.inputs["Color"], "light": spot, "spot": link("spot", spot), "scene": scene}


def use_device(device: str, cycles: Any) -> None:
    if device == "cpu":
        return
    preferences = bpy.context.preferences.addons["cycles"].preferences
    preferences.compute_device_type = device.upper()
    preferences.get_devices()
    devices = [d for d in preferences.devices if d.type == device.upper()]
    if not devices:
        raise RuntimeError(f"Blender has no device of type {device!r}")
    for d in preferences.devices:
        d.use = d.type == device.upper()
    cycles.device = "GPU"


def link(name: str, data: Any) -> Any:
    thing = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def aim(thing: Any, position: Vector) -> None:
    """Move a camera or lamp to ``position``, pointing at the origin."""
    thing.location = position
    thing.rotation_euler = (-position).to_track_quat("-Z", "Y").to_euler()


def load(path: str, normalised: bool) -> Any:
    """Import a mesh file as one centred object, z up, scaled as in ShapeNet unless ``normalised``."""
    before = set(bpy.data.objects)
    kind = os.path.splitext(path)[1].lower()
    if kind == ".obj":
        bpy.ops.wm.obj_import(filepath=path)
    elif kind == ".ply":
        bpy.ops.wm.ply_import(filepath=path)
    else:
        bpy.ops.import_scene.gltf(filepath=path)
    new = [o for o in bpy.data.objects if o not in before]
    meshes = [o for o in new if o.type == "MESH" and len(o.data.polygons)]
    if not meshes:
        raise ValueError("the file has no faces")
    bpy.context.view_layer.update()
    for o in meshes:
        world = o.matrix_world.copy()
        o.parent = None
        o.data = o.data.copy()  # two objects may share one mesh
        o.data.transform(world)
        o.matrix_world = Matrix.Identity(4)
    for o in new:
        if o not in meshes:
            bpy.data.objects.remove(o)
    with bpy.context.temp_override(active_object=meshes[0], selected_editable_objects=meshes):
        bpy.ops.object.join()
    (whole,) = [o for o in bpy.data.objects if o not in before]
    corners = [Vector(c) for c in whole.bound_box]
    low = Vector([min(c[k] for c in corners) for k in range(3)])
    high = Vector([max(c[k] for c in corners) for k in range(3)])
    size = (high - low).length
    if not (math.isfinite(size) and size > 0):
        remove(whole)
        raise ValueError("the mesh has zero size")
    scale = 1.0 if normalised else 1 / size
    whole.data.transform(Matrix.Scale(scale, 4) @ Matrix.Translation(-(low + high) / 2))
    return whole


def remove(thing: Any) -> None:
    bpy.data.objects.remove(thing)
    bpy.data.orphans_purge(do_recursive=True)


def show(stage: dict[str, Any], thing: Any, latents: list[float], path: str) -> None:
    """Render one image."""
    x, y, z, floor_hue, polar, azimuth, light_hue = latents[:7]
    stage["floor"].default_value = (*colorsys.hsv_to_rgb(floor_hue, 0.6, 0.6), 1)
    stage["light"].color = colorsys.hsv_to_rgb(light_hue, 1, 0.8)
    level = math.sin(polar)
    position = Vector((level * math.cos(azimuth), level * math.sin(azimuth), math.cos(polar)))
    aim(stage["spot"], SPOT_DISTANCE * position)
    turn = Euler((x, y, z), "XYZ").to_matrix().to_4x4()
    thing.matrix_world = turn @ Matrix.Translation(latents[7:10] or (0, 0, 0))
    stage["scene"].render.filepath = path
    bpy.ops.render.render(write_still=True)


def main() -> None:
    # Blender prints to stdout; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    stage = make_scene(json.loads(sys.stdin.readline()))
    send(ready=bpy.app.version_string)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            thing = load(job["mesh"], job["normalised"])
            for view in job["views"]:
                show(stage, thing, view["latents"], view["png"])
                send(view=view["view"], png=view["png"])
            remove(thing)
            send(done=True)
        except Exception as error:
            send(failed=" ".join(str(error).split()) or type(error).__name__)
            for o in [o for o in bpy.data.objects if o.type == "MESH" and o.name != "Plane"]:
                remove(o)


if __name__ == "__main__":
    main()
