"""Bands of unit cells by MPB, for Debian's own Python.

apt-get install mpb python3-meep python3-matplotlib python3-h5py

Run as: /usr/bin/python3 -I mpb_bands.py cells.json bands.json
In: {"epsilon": [[[...]]], "k": [[kx, ky]], "bands": n, "polarisation": "tm"}; out, per cell: frequencies
(K, n), velocities (K, n, 2), processor's seconds.
"""

import json
import sys
import time

import meep as mp
from meep import mpb


def solve(image, k, bands, polarisation):
    size = len(image)

    def material(p):
        # MPB samples at i / size; one sample per pixel then reads the image as it is.
        row, column = (round(c * size) % size for c in (p.y, p.x))
        return mp.Medium(epsilon=image[row][column])

    solver = mpb.ModeSolver(
        num_bands=bands,
        k_points=[mp.Vector3(*point) for point in k],
        geometry_lattice=mp.Lattice(size=mp.Vector3(1, 1)),
        default_material=material,
        resolution=size,
        mesh_size=1,
    )
    velocities = []

    def note(solver):
        velocities.append([[v.x, v.y] for v in solver.compute_group_velocities()])

    began = time.process_time()
    (solver.run_tm if polarisation == "tm" else solver.run_te)(note)
    seconds = time.process_time() - began
    return {"frequency": solver.all_freqs.tolist(), "velocity": velocities, "seconds": seconds}


def main(source, target):
    with open(source) as file:
        problem = json.load(file)
    mp.verbosity(0)
    frequencies = [
        solve(image, problem["k"], problem["bands"], problem["polarisation"]) for image in problem["epsilon"]
    ]
    with open(target, "w") as file:
        json.dump(frequencies, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
