"""`holdfast export onnx`: the best run as an ONNX model, compared with PyTorch, registered, in Staging."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.training.export.best import Chosen
    from holdfast.training.export.exporting import OnnxExport
    from holdfast.training.export.publishing import Publication

# Errors of the library name arguments of Python; here each is said as the option that it is.
_AS_OPTIONS = (
    ("ParityRule(rtol=…, atol=…), or --rtol and --atol", "--rtol and --atol"),
    ("the attributes of ParityRule and QuantizeRule", "--rtol and --atol: numbers of 0 or more"),
    (
        "leave quantize out, calibrate it with real batches (QuantizeRule(calibration=…)), or allow more",
        "leave out --int8",
    ),
    ("leave quantize out", "leave out --int8"),
    ("give dynamic_batch=False", "--no-dynamic-batch"),
    ("give output_names, one different name for each", "give --output NAME for each, all different"),
    ("give another folder with into=…", "give another folder: --into FOLDER"),
    ("give sample_inputs that its forward takes", "give --input NAME:DTYPE:DIMS as its forward takes them"),
    ("give sample_inputs with values as they are in use", "set example_input_array to values as they are in use"),
    (
        "give a tensor, a tuple of tensors, or a dictionary of them, each with the batch as first dimension and of a "
        "type such as float32",
        "give --input NAME:DTYPE:DIMS for each (x:float32:1x3x128x32), or mend the module's example_input_array",
    ),
    ('use mode="min" or mode="max"', "say --from best:METRIC:min or --from best:METRIC:max"),
)

_app = typer.Typer(help="Bring trained models to other formats.", no_args_is_help=True)


@_app.callback()
def _export() -> None:
    """Bring trained models to other formats."""


@_app.command("onnx")
def onnx(
    source: Annotated[
        str, typer.Option("--from", help="best:METRIC, best:METRIC:max, a run's id, or a checkpoint's path.")
    ] = "best:val/loss",
    module: Annotated[
        str | None, typer.Option(help="The class, package.module:Class; that of the run's tag if not given.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME:DTYPE:DIMS, x:float32:1x3x128x32; once for each input.")
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", help="Names of the outputs, in order.")] = None,
    opset: Annotated[int | None, typer.Option(help="The newest that all take, if not given.")] = None,
    dynamic_batch: Annotated[bool, typer.Option(help="Whether the batch size is free.")] = True,
    int8: Annotated[bool, typer.Option("--int8", help="Also a model in 8-bit integers.")] = False,
    name: Annotated[str | None, typer.Option(help="The registered model; `<experiment>-onnx` if not given.")] = None,
    stage: Annotated[
        str, typer.Option(help="Where the version goes, its gates willing: Staging, Production, None.")
    ] = "Staging",
    register: Annotated[bool, typer.Option(help="Without, nothing is logged or registered either.")] = True,
    into: Annotated[Path | None, typer.Option(help="The folder for the files; `onnx` without --register.")] = None,
    rtol: Annotated[float, typer.Option(help="Relative tolerance against PyTorch.")] = 1e-3,
    atol: Annotated[float, typer.Option(help="Absolute tolerance against PyTorch.")] = 1e-4,
    trust_checkpoint: Annotated[
        bool,
        typer.Option("--trust-checkpoint", help="Load a checkpoint that holds Python objects, which can run code."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Export the best run's model to ONNX; exit code 1 and nothing kept where it does not answer as PyTorch does.

    Example: holdfast export onnx --from best:val/loss --name localization-onnx
    """
    import tempfile

    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.core.stages import parse_stage
    from holdfast.core.uris import slug
    from holdfast.errors import InvalidInputError
    from holdfast.training.export import ParityRule, export_onnx, find_module, publish
    from holdfast.training.export.folder import check_folder

    project, target, out = open_existing(), parse_stage(stage), get_output(json)
    _import_from_here()
    kept = into or (None if register else Path("onnx"))
    with _said_as_options(), tempfile.TemporaryDirectory(prefix="holdfast-export-") as scratch:
        # What is said wrongly is refused before anything is fetched.
        rule, folder = ParityRule(rtol=rtol, atol=atol), check_folder(kept or Path(scratch) / "onnx")
        chosen = find_module(
            project,
            source,
            Path(scratch),
            module=module,
            inputs=tuple(inputs or ()),
            trust_checkpoint=trust_checkpoint,
        )
        if register and chosen.run_id is None:
            raise InvalidInputError(
                f"The checkpoint {source} does not say which run it is of.", "say --from RUN_ID, or --no-register"
            )
        made = export_onnx(
            chosen.module,
            chosen.sample_inputs,
            input_names=chosen.input_names,
            output_names=outputs or None,
            opset=opset,
            dynamic_batch=dynamic_batch,
            checks=rule,
            quantize="int8" if int8 else None,
            into=folder,
        )
        published = None
        if register and chosen.run_id is not None:
            wanted = name or f"{slug(project.settings.experiment_name)}-onnx"
            published = publish(project, made, chosen.run_id, model_name=wanted, stage=target)
    _show(out, chosen, made, published, is_kept=kept is not None)


@contextlib.contextmanager
def _said_as_options() -> Iterator[None]:
    """Have the hints of errors name options, and not arguments of Python."""
    try:
        yield
    except HoldfastError as error:
        error.hint = as_options(error.hint)
        raise


def as_options(hint: str) -> str:
    """Return a hint of the library as one for the command line."""
    for argument, option in _AS_OPTIONS:
        hint = hint.replace(argument, option)
    return hint


def _import_from_here() -> None:
    """Have the classes of the working directory found, as with `python -m`."""
    import os
    import sys

    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def _show(out: Output, chosen: Chosen, made: OnnxExport, published: Publication | None, is_kept: bool) -> None:
    if out.json:
        out.data(_document(chosen, made, published, is_kept))
        return
    of = f" of run {chosen.run_id}" if chosen.run_id else ""
    size = f"{made.parameters:,} parameters, {made.size_bytes:,} bytes, opset {made.opset}"
    out.line(f"{made.module}{of}: {size}")
    parity = made.parity
    out.line(
        f"answers as PyTorch does on {len(parity.batches)} batches: greatest difference {parity.max_abs_error:.3g} "
        f"(rtol {parity.rtol:g}, atol {parity.atol:g})"
    )
    rows = [[str(item.batch_size), f"{item.torch_ms:.3f}", f"{item.onnx_ms:.3f}"] for item in made.timings]
    out.table("Median time a batch, ms", ["batch size", "PyTorch", "onnxruntime"], rows)
    if made.int8:
        out.line(f"int8: {made.int8.size_bytes:,} bytes, mean error {made.int8.parity.mean_error:.3g} of the output")
    if is_kept:
        out.line(f"written {made.path}")
    if published and published.version:
        where = published.stage.value if published.stage else "no stage"
        out.line(f"{published.version.name} version {published.version.version} is in {where}; {published.model_uri}")


def _document(chosen: Chosen, made: OnnxExport, published: Publication | None, is_kept: bool) -> dict[str, Any]:
    version = published.version if published else None
    return made.metadata | {
        "run_id": chosen.run_id,
        "checkpoint": chosen.checkpoint.name,
        "metric_value": chosen.value,
        "path": str(made.path) if is_kept else None,
        "model_uri": published.model_uri if published else None,
        "model_name": version.name if version else None,
        "version": version.version if version else None,
        "stage": published.stage.value if published and published.stage else None,
    }


def add_to(app: typer.Typer) -> None:
    """Mount the commands."""
    app.add_typer(_app, name="export")
