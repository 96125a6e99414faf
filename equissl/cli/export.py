"""``equissl export``."""

from __future__ import annotations

from equissl.api.export import check_opset, check_upload, export_folder, scores_of
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.runs.export import export_timm, snippet
from equissl.runs.hub import upload
from equissl.runs.onnx_export import export_onnx


def run(args: Arguments) -> None:
    """Write an encoder for others to use."""
    args.check(lambda: check_opset(args["format"], args["opset"]))
    args.check(lambda: check_upload(args["format"], args["hub"]))
    (loaded,) = shared.load_models(args.positionals, args, print)
    out = export_folder(loaded, args["out"])
    if args["format"] == "onnx":
        written = export_onnx(loaded, out, opset=args["opset"])
        print(written)
        difference = f"{written.difference:.1e} of the largest feature"
        print(f"largest difference between onnxruntime and torch: {difference}")
        return
    hub = args["hub"]
    export_timm(loaded, out, scores_of(loaded), hub)
    print(f"wrote {out}")
    if hub:
        print(f"uploaded: {upload(out, hub, args['private'])}")
    print(f"\n{snippet(loaded, out, hub)}")
