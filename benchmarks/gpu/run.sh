#!/usr/bin/env bash
# What equissl does on a GPU, in one call: tests, augmentation, steps, and legs of three CIFAR-10 recipes.
#
#   bash benchmarks/gpu/run.sh [minutes]      at most 9 minutes by default
#   bash benchmarks/gpu/run.sh what           what to put into the carried folder beforehand; runs nothing
#
# For a machine with python3, torch, torchvision and a copy of this tree, without a network.
# OUT: where results go (gpu-out). CARRY: the folder with wheels, data and earlier runs (benchmarks/gpu/carry).
set -uo pipefail
at=$PWD  # OUT and CARRY are of the caller's folder
cd "$(dirname "$0")/../.." || exit 1
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$at/$1" ;; esac; }
OUT=$(absolute "${OUT:-$PWD/gpu-out}") CARRY=$(absolute "${CARRY:-$PWD/benchmarks/gpu/carry}")
export OUT CARRY
python=$(command -v python3 || command -v python) || { echo "there is no python3"; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python 3.11 or newer is needed"; exit 1; }
if [ "${1:-}" != what ] && ! problem=$("$python" -W ignore -c 'import torch, torchvision' 2>&1); then
    echo "${problem##*$'\n'}"
    echo "torch and torchvision are too large to be carried: $python must have them (in a clone: uv run bash benchmarks/gpu/run.sh)"
    exit 1
fi
# Wheels are unpacked behind what is installed; a wheel of something that is there already changes nothing.
site=$(mktemp -d) || exit 1
trap 'rm -rf "$site"' EXIT
for wheel in "$CARRY"/*.whl; do
    [ -e "$wheel" ] || continue
    "$python" -m zipfile -e "$wheel" "$site" 2>/dev/null || echo "$wheel cannot be unpacked; copy it again"
done
PYTHONPATH="$PWD:$PWD/benchmarks:$PWD/benchmarks/gpu${PYTHONPATH:+:$PYTHONPATH}" CARRIED="$site" \
    "$python" benchmarks/gpu/kit.py "${1:-9}"
