"""ONNX export: what passes answers as PyTorch does, and what does not is refused by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast.errors import InvalidInputError
from holdfast.training.export import ExportError, ParityRule, QuantizeRule, export_onnx

QUICK = ParityRule(repeats=0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower with more, where the processors are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files go; there is nothing in it."""
    made = tmp_path / "exported"
    made.mkdir()
    return made


class Block(nn.Module):
    """A block of ConvNeXt: depth-wise convolution, layer norm, two linear layers, a scaled residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.mix(x).permute(0, 2, 3, 1))
        mixed: Tensor = (self.scale * self.out(y)).permute(0, 3, 1, 2)
        return x + mixed


class Localizer(nn.Module):
    """A stem, two blocks with dropout between them, and two heads."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.BatchNorm2d(width))
        self.blocks = nn.Sequential(Block(width), nn.Dropout(0.3), Block(width))
        self.position, self.sigma = nn.Linear(width, 2), nn.Linear(width, 2)

    def forward(self, mel: Tensor) -> dict[str, Tensor]:
        found = self.blocks(self.stem(mel)).mean((2, 3))
        return {"positions": self.position(found), "uncertainties": functional.softplus(self.sigma(found))}


class Found(NamedTuple):
    """Two outputs with names."""

    mixed: Tensor
    best: Tensor


class TwoInputs(nn.Module):
    """An embedding of integers and a linear layer; a named tuple comes out, or a tensor and a tuple."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.named, self.words, self.line = named, nn.Embedding(5, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor, word: Tensor) -> Found | tuple[Tensor, tuple[Tensor]]:
        mixed = self.line(x) + self.words(word)
        best = mixed.argmax(1)
        return Found(mixed, best) if self.named else (mixed, (best,))


_STRANGE: dict[str, Callable[[Tensor], Tensor]] = {
    "nan": lambda y: y * torch.tensor([1.0, torch.nan]),
    "infinite": lambda y: y / (len(y) - 16),  # the sample is well, and a random batch is not
    "bfloat16": lambda y: y.bfloat16(),
}


class Faulty(nn.Module):
    """A module with a fault of choice."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.line = fault, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.line(x)
        if self.fault == "branch":
            return y if x.sum() > 0 else -y
        if self.fault == "exported" and torch.compiler.is_exporting():
            return y + 0.01
        if self.fault == "dropout":
            return functional.dropout(y, 0.5)
        if self.fault == "size":
            return y if x.shape[0] == 2 else -y
        if self.fault == "raises":
            raise ValueError("no such thing")
        return _STRANGE[self.fault](y) if self.fault in _STRANGE else y


def test_convnext(folder: Path) -> None:
    torch.manual_seed(3)
    module = Localizer().double().float()
    module.stem[1].eval()  # a frozen batch norm, as fine-tuning has it
    modes = [part.training for part in module.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]
    checks = ParityRule(repeats=2, rtol=1e-4, atol=1e-5)
    given = torch.randn(4, 3, 32, 32)
    torch.set_rng_state(states[0])
    made = export_onnx(
        module,
        torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32),
        input_names=["mel"],
        output_names=["uncertainties", "positions"],  # in another order than the module's
        checks=checks,
        check_inputs=[given],
        into=folder,
    )
    assert [part.training for part in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # type: ignore[index]
    assert [(item.name, item.dtype, item.dims) for item in (*made.inputs, *made.outputs)] == [
        ("mel", "float32", ("batch", 3, 32, 32)),
        ("positions", "float32", ("batch", 2)),
        ("uncertainties", "float32", ("batch", 2)),
    ]
    assert [(item.source, item.batch_size) for item in made.parity.batches][:3] == [
        ("sample", 1), ("given", 4), ("random", 1),
    ]  # fmt: skip
    assert made.parity.passed
    assert made.parameters == sum(item.numel() for item in module.parameters())
    assert [item.batch_size for item in made.timings] == [1, 2, 3, 4, 7, 16]
    assert all(item.onnx_ms > 0 and item.torch_ms > 0 for item in made.timings)
    # By onnxruntime alone, with a size that nothing above has seen.
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    module.eval()
    batch = torch.randn(11, 3, 32, 32)
    got = session.run(["positions", "uncertainties"], {"mel": batch.numpy()})
    for value, expected in zip(got, module(batch).values(), strict=True):
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx"]


@pytest.mark.parametrize("by_name", [True, False])
def test_two_inputs(folder: Path, by_name: bool) -> None:
    x, word = torch.randn(3, 3), torch.tensor([0, 4, 2])
    sample: Any = {"x": x, "word": word} if by_name else (x, word)
    names, outputs = (None, None) if by_name else (["x", "word"], ["mixed", "best"])
    made = export_onnx(TwoInputs(by_name), sample, input_names=names, output_names=outputs, checks=QUICK, into=folder)
    assert [(item.name, item.dtype) for item in (*made.inputs, *made.outputs)] == [
        ("x", "float32"), ("word", "int64"), ("mixed", "float32"), ("best", "int64"),
    ]  # fmt: skip
    assert made.timings == ()


@pytest.mark.parametrize(
    ("fault", "step", "said"),
    [
        ("branch", "export", "cannot be exported"),
        ("exported", "parity", r"output output of a random batch of \d+: the greatest difference is 0\.01"),
        ("dropout", "run", "differently the second time"),
        ("raises", "run", "no such thing"),
        ("nan", "run", r"2 of 4 values of output output of a sample batch of 2 are NaN or infinite"),
        ("infinite", "run", r"of a random batch of \d+ are NaN or infinite"),
        ("bfloat16", "run", "output is bfloat16"),
    ],
)
def test_faults(folder: Path, fault: str, step: str, said: str) -> None:
    (folder / "model.onnx").write_text("an earlier one")
    module = Faulty(fault)
    with pytest.raises(ExportError, match=said) as caught:
        export_onnx(module, torch.randn(2, 3), checks=QUICK, into=folder)
    assert caught.value.step == step
    assert module.training
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    assert (folder / "model.onnx").read_text() == "an earlier one"


def test_size_written_in(folder: Path) -> None:
    checks = ParityRule(repeats=0, batch_sizes=(2, 4))
    with pytest.raises(ExportError, match="The batch size is fixed"):
        export_onnx(Faulty("size"), torch.randn(2, 3), checks=checks, into=folder)
    made = export_onnx(Faulty("size"), torch.randn(2, 3), checks=checks, dynamic_batch=False, into=folder)
    assert made.inputs[0].dims == (2, 3)
    assert {item.batch_size for item in made.parity.batches} == {2}


def test_tolerance(folder: Path) -> None:
    # What is exact in 64 bits is off by about 1e-7 in 32; no tolerance at all must find that.
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Softmax(1))
    with pytest.raises(ExportError, match="rtol 0, atol 0"):
        export_onnx(module, torch.randn(2, 64), checks=ParityRule(rtol=0, atol=0, repeats=0), into=folder)


def test_int8(folder: Path) -> None:
    torch.manual_seed(1)
    checks = ParityRule(repeats=0, batches=2, batch_sizes=(1, 3))
    module = nn.Sequential(nn.Conv2d(3, 16, 4, 4), Block(16), nn.Flatten(), nn.Linear(1024, 8))
    made = export_onnx(
        module, torch.randn(2, 3, 32, 32), checks=checks, quantize=QuantizeRule(max_mean_error=0.2), into=folder
    )
    assert made.int8 is not None
    assert made.int8.method == "dynamic"
    assert made.int8.size_bytes == (folder / "model.int8.onnx").stat().st_size < made.size_bytes
    assert made.parity.mean_error < made.int8.parity.mean_error <= 0.2
    assert made.metadata["int8"]["sha256"] == made.int8.sha256
    small, sample = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2)), torch.randn(8, 3)
    rule = QuantizeRule(calibration=[sample, sample * 2], metric=_worst, max_metric=0.5)
    static = export_onnx(small, sample, checks=checks, quantize=rule, into=folder)
    assert static.int8 is not None
    assert static.int8.method == "static"
    assert static.int8.worst_metric is not None
    assert 0 < static.int8.worst_metric <= 0.5
    for tight in (QuantizeRule(max_mean_error=1e-6), QuantizeRule(metric=_worst, max_metric=1e-6)):
        with pytest.raises(ExportError, match="is not good enough, though the float model is") as caught:
            export_onnx(small, sample, checks=checks, quantize=tight, into=folder)
        assert caught.value.step == "int8"


def _worst(reference: Any, got: Any) -> float:
    return max(float(np.abs(reference[name] - got[name]).max()) for name in reference)


def test_arguments(folder: Path) -> None:
    for sample, said in [
        ((torch.ones(2, 3), torch.ones(3, 3)), "batch sizes are 2, 3"),
        ([1.0], "float, no tensor"),
        (torch.tensor(1.0), "batch sizes are 0"),
        ((), "there is none"),
        (3, "input input is a int"),
        (None, "input input is None, no tensor"),
        ((torch.ones(2, 3), None), "input input_1 is None, no tensor"),
        ({"mel": torch.ones(2, 3), "power": None}, r"used: input power is None, no tensor\."),
        ({"mel": torch.ones(2, 3, dtype=torch.bfloat16)}, r"used: input mel is bfloat16, a type that NumPy has not\."),
    ]:
        with pytest.raises(InvalidInputError, match=said):
            export_onnx(Faulty(""), sample, into=folder)
    with pytest.raises(InvalidInputError, match="Opset 99"):
        export_onnx(Faulty(""), torch.ones(1, 3), opset=99, into=folder)
    with pytest.raises(InvalidInputError, match="cannot be named a, b"):
        export_onnx(Faulty(""), torch.ones(1, 3), output_names=["a", "b"], into=folder)
    with pytest.raises(InvalidInputError, match=r"rtol is negative.*repeats is negative"):
        ParityRule(rtol=-1, repeats=-1)
    with pytest.raises(InvalidInputError, match="'int4'"):
        export_onnx(Faulty(""), torch.ones(1, 3), quantize="int4", into=folder)
    with pytest.raises(InvalidInputError, match="in the sample float32"):
        export_onnx(Faulty(""), torch.ones(1, 3), check_inputs=[torch.ones(2, 4)], into=folder)
    assert list(folder.iterdir()) == []
    for place in (file := folder.with_name("file"), file / "below", Path("/proc/holdfast")):
        file.touch()
        with pytest.raises(InvalidInputError, match="cannot be written to"):
            export_onnx(Faulty(""), torch.ones(1, 3), into=place)


def test_opset(folder: Path) -> None:
    assert export_onnx(Faulty(""), torch.randn(1, 3), opset=18, checks=QUICK, into=folder).opset == 18
