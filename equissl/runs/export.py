"""Export of an encoder: a folder that timm loads without equissl, with its model card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equissl.config.serialize import to_dict
from equissl.digest import digest
from equissl.encoder.backbone import EncoderConfig, is_timm, model_arguments
from equissl.errors import UserError
from equissl.locks import folder_lock
from equissl.runs.folder import COMPONENTS
from equissl.runs.load import Loaded, LoadedRun
from equissl.storage import atomic_path, move_file, read_json, write_json, write_text
from equissl.temporary import temporary_sibling
from equissl.text import printable

# What the Hugging Face Hub reads first; the licence of the weights is the owner's to choose.
MAX_ORIGIN = 300  # characters
FRONT_MATTER = (
    *("---", "library_name: timm", "pipeline_tag: image-feature-extraction", "tags:", "- timm"),
    *("- self-supervised-learning", "- equissl", "license: other", "---", ""),
)


def export_timm(loaded: Loaded, out: Path, scores: Sequence[Mapping[str, Any]] = (), hub: str = "") -> Path:
    """Write ``model.safetensors``, ``config.json`` and ``README.md`` into ``out``.

    Args:
        scores: rows of ``scores.jsonl`` for the equivariance card.
        hub: USER/NAME on the Hugging Face Hub that the card loads it from; ``out`` if absent.

    Raises:
        UserError: the encoder is not a timm model, or ``out`` holds something else.
    """
    config = timm_encoder(loaded)
    if out.is_file():
        raise UserError(f"out={out} is a file; expected a folder to write")
    if out.exists() and not _is_export(out):
        raise UserError(f"out={out} holds something that is no export; choose another folder")
    from safetensors.torch import save_file

    state = {k: v.detach().cpu().contiguous() for k, v in loaded.encoder.backbone.state_dict().items()}
    files = ("config.json", "model.safetensors", "README.md")  # the first makes the folder an export
    with folder_lock(out), temporary_sibling(out / "export") as partial:
        with atomic_path(partial / "model.safetensors") as weights:
            save_file(state, weights, {"format": "pt"})
        facts = timm_config(loaded, config)
        facts["equissl"]["digest"] = digest(dict(sorted(state.items())))
        write_json(partial / "config.json", facts)
        write_text(partial / "README.md", readme(loaded, out, scores, hub))
        for name in files:  # one by one: nothing else in the folder is touched
            move_file(partial / name, out / name)
    return out


def _is_export(folder: Path) -> bool:
    """Whether a folder is one of ours, or empty but for what a killed export left."""
    config = folder / "config.json"
    stored = read_json(config) if config.is_file() else {}
    others = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    return (isinstance(stored, dict) and "equissl" in stored) or others <= {"model.onnx"}


def timm_encoder(loaded: Loaded) -> EncoderConfig:
    """The config of an encoder that timm can build.

    Raises:
        UserError: timm cannot build it.
    """
    if loaded.backbone is not None or not is_timm(loaded.config):
        title = "a module of your own" if loaded.backbone is not None else repr(loaded.config.title)
        raise UserError(f"only timm backbones can be exported for timm, got {title}; format=onnx takes any")
    with torch.device("meta"):  # nothing is allocated
        built = loaded.config.backbone().state_dict()
    ours = loaded.encoder.backbone.state_dict()
    if {k: t.shape for k, t in built.items()} != {k: t.shape for k, t in ours.items()}:
        raise UserError(
            f"only timm backbones can be exported for timm, but the encoder's tensors are not those of "
            f"{loaded.config.title!r}; format=onnx takes any"
        )
    return loaded.config


def timm_config(loaded: Loaded, config: EncoderConfig) -> dict[str, Any]:
    """``config.json`` as timm reads it from ``local-dir:``, with equissl's own config under "equissl"."""
    side, width = config.size, loaded.encoder.width()
    return {
        "architecture": config.name,
        "num_classes": config.width,
        "num_features": width,
        "model_args": model_arguments(config),
        "pretrained_cfg": {
            "input_size": [len(config.mean), side, side],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": list(config.mean),
            "std": list(config.std),
            "num_classes": config.width,
        },
        "equissl": {
            "encoder": to_dict(replace(config, weights="")),
            "step": loaded.step,
            "fit": loaded.fit,
            "intensity": to_dict(loaded.intensity),
        },
    }


def snippet(loaded: Loaded, folder: Path, hub: str = "") -> str:
    """Code that loads the export, from its folder or from the Hub, in a process without equissl."""
    path = folder.resolve().as_posix()
    source = f"hf-hub:{hub}" if hub else f"local-dir:{path}"
    if timm_encoder(loaded).stem == "timm":
        return f'import timm\n\nmodel = timm.create_model("{source}", pretrained=True).eval()\n'
    here = f'"{path}/model.safetensors"'
    weights = f'huggingface_hub.hf_hub_download("{hub}", "model.safetensors")' if hub else here
    imports = "import huggingface_hub\n" if hub else ""
    first = next(m for m in loaded.encoder.backbone.modules() if isinstance(m, nn.Conv2d))
    return (
        f"{imports}import timm\nimport torch\n\n"
        "# The small-image stem is not one of timm's options, so it is put in before the weights.\n"
        f'model = timm.create_model("{source}", pretrained=False)\n'
        f"model.conv1 = torch.nn.Conv2d({first.in_channels}, {first.out_channels}, 3, 1, 1, bias=False)\n"
        "model.maxpool = torch.nn.Identity()\n"
        f"timm.models.load_checkpoint(model, {weights})\n"
        "model = model.eval()\n"
    )


def readme(loaded: Loaded, folder: Path, scores: Sequence[Mapping[str, Any]], hub: str = "") -> str:
    """The model card in Markdown: how to load the model, and how well factors are predicted from features."""
    config = timm_encoder(loaded)
    return "\n".join(
        [
            *FRONT_MATTER,
            f"# {loaded.name}",
            "",
            f"A `{config.name}`{_origin(loaded)}. "
            f"It maps images of {config.size} pixels to {loaded.encoder.width()} features.",
            "",
            "```python",
            snippet(loaded, folder, hub).rstrip(),
            "",
            f"# images: float (B, {len(config.mean)}, {config.size}, {config.size}), normalised with",
            f"# mean {config.mean} and standard deviation {config.std}",
            "```",
            "",
            "## Equivariance card",
            "",
            *card(scores),
            *training_card(loaded),
        ]
    )


def training_card(loaded: Loaded) -> list[str]:
    """How a run was trained, and the papers to cite, in Markdown; nothing for any other model."""
    if not isinstance(loaded, LoadedRun):
        return []
    recipe, path = loaded.recipe, loaded.run.path / COMPONENTS
    stored = read_json(path) if path.is_file() else []
    used = [row for row in stored if isinstance(row, dict)] if isinstance(stored, list) else []
    titles = [printable(str(row["title"])) for row in used if row.get("title") and row.get("bibtex")]
    entries = [
        "\n".join(printable(line).replace("`", "'") for line in str(row["bibtex"]).strip().splitlines())
        for row in used
        if row.get("bibtex")
    ]
    lines = [
        "## Training",
        "",
        f"Without labels on {type(recipe.data).__name__}: {recipe.epochs} epochs in batches of "
        f"{recipe.batch_size}, {loaded.step} steps, seed {recipe.seed}. "
        f"Made of: {', '.join(dict.fromkeys(titles)) or 'components of its own'}.",
        "",
    ]
    if not entries:
        return lines
    return [*lines, "## Citation", "", "```bibtex", *dict.fromkeys(entries), "```", ""]


def _origin(loaded: Loaded) -> str:
    if not loaded.step:
        return f"; {loaded.weights}"
    started = started_from(loaded)
    if started:
        return f" trained further without labels by equissl ({loaded.step} steps), from {started}"
    return f" pretrained without labels by equissl ({loaded.step} steps)"


def started_from(loaded: Loaded) -> str:
    """The weights that a run began with, in words; "" for random ones and for what is no run."""
    if not isinstance(loaded, LoadedRun):
        return ""
    source = str(getattr(loaded.recipe.encoder, "weights", ""))
    found = loaded.run.environment.get("weights")
    found = found if isinstance(found, str) and found != "random" else source
    # A file that anyone may have changed: on one line, no markup, not the folders of a user's files.
    bare = re.sub(r"(?<!\S)[~.]?/\S*/", "", found[:MAX_ORIGIN])
    return re.sub(r"([\\`*_\[\]<>#|!])", r"\\\1", " ".join(printable(bare).split()))


def card(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """The equivariance card in Markdown: every factor score beside that of the random-init baseline."""
    own = [s for s in scores if not s["baseline"] and s["part"] == "all"]
    random = {s["name"]: s for s in scores if s["baseline"] == "random" and s["part"] == "all"}
    tested = [s for s in own if s["name"].startswith(("factor/", "audit/"))]
    if not tested:
        return ["Not measured yet: run `equissl evaluate` or `equissl audit`, then export again.", ""]
    lines = ["| factor | readable | 95 % interval | random weights | verdict | measure | images |"]
    lines.append("|---|---|---|---|---|---|---|")
    for s in sorted(tested, key=lambda s: str(s["name"])):
        interval = f"{s['low']:.2f} to {s['high']:.2f}" if s["low"] is not None else ""
        untrained = f"{random[s['name']]['value']:.2f}" if s["name"] in random else ""
        verdict = printable(str((s.get("extra") or {}).get("verdict", "")))
        cells = (s["name"], f"{s['value']:.2f}", interval, untrained, verdict, s["unit"], str(s["count"]))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
