"""The nouns of oodbench.

The score convention, for every detector, table and file: **a higher score is more
out-of-distribution, and the out-data set is the positive class.** No score is ever flipped to look
better: an AUROC below 0.5 is a finding.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import pydantic

from oodbench.errors import DataError, OODBenchError, UnknownName
from oodbench.mapped import release

if TYPE_CHECKING:
    import torch

SCORE_CONVENTION = "A higher score is more out-of-distribution; the out-data set is the positive class."
SPLITS = ("train", "validation", "test")
PLAIN_NAME = re.compile(r"[a-z0-9-]+(:[0-9,-]{1,120})?")
"""A data set's name without a path; of classes as many as a file name can hold."""

CHUNK_BYTES = 2**24

Shape = tuple[int, int, int]
"""Channels, height, width."""


def shape_text(shape: Shape) -> str:
    return "×".join(map(str, shape))


def chunk_rows(shape: Shape) -> int:
    """How many images of the shape are read, decoded or written at once: about 16 MiB."""
    return max(1, CHUNK_BYTES // int(np.prod(shape)))


# ---------------------------------------------------------------------------------------- data


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A stack of images of one split of one data set.

    images: uint8 (n, C, H, W), in memory or memory-mapped.
    labels: int64 (n,), the classes of the source.
    indices: int64 (n,), where each image stands in its source, so that a score can be traced to its image.
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    _on_device: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"{self.name}: images must be uint8 (n, C, H, W), not {self.images.dtype} {self.images.shape}"
            )
        if not len(self.images) == len(self.labels) == len(self.indices):
            raise DataError(f"{self.name}: images, labels and indices differ in number")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> Shape:
        return tuple(self.images.shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the images' shape and bytes and of the labels: 16 hexadecimal digits."""
        return fingerprint(self.shape, self.chunks(), self.labels)

    def chunks(self) -> Iterator[np.ndarray]:
        """The images in order, some at a time; of mapped ones those that were passed do not stay in memory."""
        rows = chunk_rows(self.shape)
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield self.images[start:stop]
            release(self.images, start, stop)

    def only(self, classes: Sequence[int]) -> ImageSet:
        """The images of these classes."""
        chosen = np.flatnonzero(np.isin(self.labels, classes))
        return ImageSet(self.name, self.split, self.images[chosen], self.labels[chosen], self.indices[chosen])

    def batches(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        skip: int = 0,
    ) -> Iterator[torch.Tensor]:
        """Float32 batches (b, C, H, W) in [0, 1] on the device; in random order if a generator is given.

        ``skip`` leaves out so many images at the beginning.
        """
        import torch

        stack = self._tensor(torch.device(device))
        order = None
        if generator is not None:
            order = torch.randperm(len(self), generator=generator, device=generator.device).to(stack.device)
        for start in range(skip, len(self), batch_size):
            stop = start + batch_size
            batch = stack[start:stop] if order is None else stack[order[start:stop]]
            if stack.device.type != torch.device(device).type:
                batch = batch.pin_memory()  # so that nothing waits for its copy to the device
            yield batch.to(device, non_blocking=True).to(torch.float32).div_(255)
            if order is None:
                release(self.images, start, min(stop, len(self)))

    def _tensor(self, device: torch.device) -> torch.Tensor:
        """The whole stack as uint8, on the device where it fits there, else on the CPU."""
        import torch

        key = str(device)
        if key not in self._on_device:
            with warnings.catch_warnings():  # of an array that cannot be written to: nothing here writes to it
                warnings.simplefilter("ignore", UserWarning)
                stack = torch.from_numpy(self.images)
            if device.type == "cuda" and stack.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
                stack = stack.to(device)
            self._on_device[key] = stack
        return self._on_device[key]


@dataclass(frozen=True, eq=False)
class Stream:
    """What an ImageSet has, but the images come some at a time, as they may be more than the memory holds.

    chunks: uint8 (any number, C, H, W), in order; they can be gone through once.
    """

    name: str
    split: str
    shape: Shape
    labels: np.ndarray
    indices: np.ndarray
    chunks: Iterable[np.ndarray]

    def gathered(self) -> ImageSet:
        """All of it in memory."""
        images = np.concatenate([np.empty((0, *self.shape), np.uint8), *self.chunks])
        return ImageSet(self.name, self.split, images, self.labels, self.indices)


def fingerprint(shape: Shape, chunks: Iterable[np.ndarray], labels: np.ndarray) -> str:
    """Hash of the images' shape and bytes and of the labels: 16 hexadecimal digits."""
    digest = hashlib.sha256(repr((len(labels), *map(int, shape))).encode())
    for chunk in chunks:
        digest.update(chunk.tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Dataset:
    """A data set that can be named after ``--in`` and ``--out``.

    load: ``load(split, root, shape)`` gives one split, read from the folder ``root``; ``shape`` is heeded only by a
        data set whose own shape is None. It raises DataError where a file is missing or damaged.
    shape: of its images; None where it is made in whatever shape is asked for.
    sizes: images a split, as published. A split that is not named does not exist.
    files: ``files(root)`` are the paths that ``load`` reads; empty for one that needs none.
    version: raised when the same files or seed begin to give other images.
    stream: what ``load`` gives, some at a time, of a data set that may be larger than memory.
    at: for data sets that are named with a path, as in ``folder:PATH``: the data set of that path. What is called
        ``folder`` alone then has no images.
    checksums: the published MD5s: path below the root → MD5.
    by_hand: ``by_hand(root)`` says what to put where, of a data set that must be fetched by hand.
    """

    name: str
    load: Callable[[str, Path, Shape | None], ImageSet]
    shape: Shape | None
    sizes: Mapping[str, int]
    classes: Sequence[int] = ()
    files: Callable[[Path], list[Path]] = lambda root: []
    summary: str = ""
    source: str = ""
    licence: str = ""
    version: int = 1
    stream: Callable[[str, Path, Shape | None], Stream] | None = None
    at: Callable[[str], Dataset] | None = None
    checksums: Callable[[], Mapping[str, str]] = dict
    by_hand: Callable[[Path], str] | None = None


# ------------------------------------------------------------------------------------ detectors


class Params(pydantic.BaseModel):
    """The hyper-parameters of a detector: declare each with ``param``; groups nest as further Params."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """The values as JSON with sorted keys: equal exactly where the parameters are."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def param(default: Any, meaning: str, *, source: str = "", unit: str = "", **bounds: Any) -> Any:
    """One hyper-parameter: its default, meaning, bounds (gt, ge, lt, le), unit and where its value comes from."""
    extra: dict[str, Any] = {"source": source, "unit": unit}
    return pydantic.Field(default, description=meaning, json_schema_extra=extra, **bounds)


class Detector(ABC):
    """Learns one in-distribution data set and then gives every image a score; higher is more out-of-distribution.

    A subclass declares ``name``, ``Params`` and ``presets`` and defines the four methods below. It never sees an
    out-data set. Presets are values that differ from the defaults of Params: ``paper`` as published, ``quick`` for a
    CPU.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    Params: ClassVar[type[Params]] = Params
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {}}
    shapes: ClassVar[tuple[Shape, ...] | None] = None
    """The image shapes it can be fitted to; None for any."""
    rare_parameters: ClassVar[Mapping[str, str]] = {}
    """Parameters by dotted name that matter in rare cases alone, each with the case: its contract spares them."""

    def __init__(self, params: pydantic.BaseModel, shape: Shape):
        self.params: Any = params
        self.shape = shape

    @classmethod
    def preset(cls, name: str, shape: Shape) -> Mapping[str, Any]:
        """The values of a preset; override where the paper's values depend on the images' shape."""
        if name not in cls.presets:
            raise UnknownName(f"preset of {cls.name}", name, cls.presets)
        return cls.presets[name]

    @classmethod
    def check_shape(cls, shape: Shape) -> None:
        if cls.shapes is not None and shape not in cls.shapes:
            able = " or ".join(map(shape_text, cls.shapes))
            raise OODBenchError(f"{cls.name} can be fitted to images of {able}, not of {shape_text(shape)}")

    @abstractmethod
    def fit(self, train: ImageSet, validation: ImageSet, context: Context) -> Self:
        """Learn the in-distribution; forgets any earlier fit. Networks live on ``context.device`` afterwards."""

    @abstractmethod
    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 images (b, C, H, W) in [0, 1] → one finite score each, (b,)."""

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor | None:
        """What a detector that reconstructs makes of the images, (b, C, H, W) in [0, 1], for figures."""
        return None

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """All that was learnt, as named tensors."""

    @abstractmethod
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take up what ``state`` gave, on the device the tensors are on."""


class Progress:
    """Where a fit says how far it is; this one is silent."""

    def plan(self, phases: Mapping[str, float]) -> None:
        """The phases of the fit, each with its whole cost in any one unit, so that an ETA can be given at once."""

    def advance(self, phase: str, share: float, epoch: str, values: Mapping[str, float]) -> None:
        """``share`` of the phase is done (0 to 1), in ``epoch``; ``values`` are the latest losses and energies."""

    def message(self, text: str) -> None:
        """Something a person should read."""

    def of(self, run: str) -> Progress:
        """The progress of one of several runs that are under way at once; ``done`` ends it."""
        return self

    def done(self) -> None:
        """This run is over."""


class Checkpoints(Protocol):
    """Where a fit keeps its state so that it can go on after an interruption."""

    def save(self, state: dict[str, Any]) -> None: ...

    def load(self) -> dict[str, Any] | None: ...


@dataclass
class Context:
    """All that ``fit`` may know of its surroundings."""

    device: torch.device
    seed: int = 0
    precision: str = "float32"
    progress: Progress = field(default_factory=Progress)
    checkpoints: Checkpoints | None = None
    checkpoint_seconds: float = 30.0
    """How much of a fit an interruption may lose."""
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How each finished phase of the fit ended."""
    after_epoch: Callable[[str, int], None] | None = None
    """Called with phase and epoch after each epoch, the weights as they are; for curves over epochs."""

    def generator(self, *purpose: str | int, device: torch.device | str | None = None) -> torch.Generator:
        """A random generator that depends on the seed and the purpose alone."""
        import torch

        digest = hashlib.sha256(repr((self.seed, *purpose)).encode()).digest()
        generator = torch.Generator(self.device if device is None else device)
        generator.manual_seed(int.from_bytes(digest[:7], "little"))
        return generator

    def seeded(self, *purpose: str | int) -> AbstractContextManager[None]:
        """Inside, torch's global generators, which weights are drawn from, are seeded for the purpose."""
        return _seeded(self.generator(*purpose, device="cpu").initial_seed(), self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision asked for: bfloat16 matrix products over float32 weights, or plain float32."""
        import torch

        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def note(self, text: str) -> None:
        """Put something into the record of the run that a reader of its numbers must know, and show it."""
        self.notes.append(text)
        self.progress.message(text)


class _seeded(AbstractContextManager[None]):
    def __init__(self, seed: int, device: torch.device):
        import torch

        self.seed = seed
        self.fork = torch.random.fork_rng([device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        import torch

        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)


# -------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class Metric:
    """A function of (in scores (n,), out scores (m,)), float64; the out-data set is the positive class."""

    name: str
    compute: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool
    summary: str


# ----------------------------------------------------------------------------------- the record


@dataclass(frozen=True)
class Run:
    """One detector with its parameters, one in-distribution data set and one seed.

    params is canonical JSON. preset only says where the parameters came from, ``quick, latent_dim=8``: it is no part of
    what a run is.
    """

    detector: str
    version: str
    params: str
    in_dataset: str
    seed: int = 0
    precision: str = "float32"
    preset: str = field(default="paper", compare=False)

    def key(self, fingerprint: str) -> str:
        """Readable and content-addressed, from all that can change the scores; ``fingerprint`` is the in-data's."""
        identity = [self.detector, self.version, self.params, self.in_dataset, self.seed, self.precision, fingerprint]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        return f"{self.detector}-{file_name(self.in_dataset)}-s{self.seed}-{digest}"


def file_name(dataset: str) -> str:
    """A data set's name as part of a file name: ``mnist:0-8`` → ``mnist_0-8``, ``folder:/my/Cats`` → ``folder_cats_…``.

    One to one: a name has no ``_`` itself, and that of a path ends in its hash.
    """
    if PLAIN_NAME.fullmatch(dataset):
        return dataset.replace(":", "_")
    kind, _, path = dataset.partition(":")
    last = re.sub("[^a-z0-9]+", "-", path.lower().rstrip("/").rpartition("/")[2]).strip("-")[:32] or "path"
    digest = hashlib.sha256(dataset.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{kind}_{last}_{digest}"


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of every image of one split of one data set by one run: the record that all else is a view of."""

    dataset: str
    split: str
    fingerprint: str
    indices: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    """Float64 (n,); higher is more out-of-distribution."""
    images_per_second: float
    device: str


@dataclass(frozen=True)
class Provenance:
    """Where a run's numbers come from; written by the runner, only carried afterwards."""

    oodbench: str
    plugin: str
    plugin_version: str
    torch: str
    python: str
    commit: str
    device: str
    fit_seconds: float
    peak_memory_mib: float
    parameters: int
    images: Mapping[str, int]
    """In-data images a split."""
    created: str
    notes: Sequence[str] = ()
    """What a reader of the numbers must know: restarts, an early stop, a reduced data set."""


@dataclass(frozen=True)
class Result:
    """One metric of one run on one out-data set."""

    run: str
    detector: str
    in_dataset: str
    out_dataset: str
    seed: int
    metric: str
    value: float
    n_in: int
    n_out: int
