"""The nouns of the suite: frozen facts that every other module passes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:  # the supervisor handles these nouns without importing torch
    import torch
    from hypothesis.strategies import SearchStrategy

    from .recipes import TensorRecipe

Level: TypeAlias = Literal["must", "should"]
Profile: TypeAlias = Literal["quick", "standard", "thorough"]
Outcome: TypeAlias = Literal[
    "pass",
    "fail",
    "crash",
    "timeout",
    "error",
    "unsupported",
    "expected_failure",
    "unexpected_pass",
    "inconclusive",
    "not_run",
]
Precision: TypeAlias = Literal["fp32_inside", "rounded_rows", "input_dtype"]
Scalar: TypeAlias = bool | int | float | str | None

#: Version of the published sentences; rises when a verdict may change.
SPEC_VERSION = "1.0"
LEVELS: tuple[Level, ...] = ("must", "should")
PROFILES: tuple[Profile, ...] = ("quick", "standard", "thorough")
DTYPES = ("float32", "bfloat16", "float16", "float64")
DEVICES = ("cpu", "cuda")
PRECISIONS: tuple[Precision, ...] = ("fp32_inside", "rounded_rows", "input_dtype")
OUTCOMES: tuple[Outcome, ...] = (
    "pass",
    "fail",
    "crash",
    "timeout",
    "error",
    "unsupported",
    "expected_failure",
    "unexpected_pass",
    "inconclusive",
    "not_run",
)
#: Outcomes of a must-rule that keep an implementation from conforming.
BAD_OUTCOMES: tuple[Outcome, ...] = ("fail", "crash", "timeout")


@dataclass(frozen=True)
class Expected:
    """A known failure: which result, why it is accepted, and where that is discussed."""

    rule: str
    dtype: str | None = None
    device: str | None = None
    outcome: Outcome = "fail"
    reason: str = ""
    link: str = ""
    expires: str | None = None
    case: Mapping[str, Any] | None = None

    def covers(self, rule: str, dtype: str, device: str) -> bool:
        """Whether this entry speaks of that result; an absent dtype or device means any."""
        return self.rule == rule and self.dtype in (None, dtype) and self.device in (None, device)


@dataclass(frozen=True, eq=False)
class Implementation:
    """A loss and what it declares.

    ``load`` returns the callable; an ImportError in it means "not installed".
    ``lacks`` names contract or argument capabilities that it does not have, ``promises``
    optional ones that must work (and arguments hidden in ``**kwargs``).  ``divergences``
    chooses among the legal values that the family lists, ``precision`` says how 16-bit
    inputs are handled, ``mutates`` names tensors that a call may overwrite, and
    ``max_elements`` and ``max_rows`` cap the size of a case for a slow target.
    """

    name: str
    load: Callable[[], Callable[..., Any]]
    family: str
    lacks: tuple[str, ...] = ()
    promises: tuple[str, ...] = ()
    divergences: Mapping[str, str] = field(default_factory=dict)
    precision: Precision | None = None
    dtypes: tuple[str, ...] = DTYPES
    devices: tuple[str, ...] = DEVICES
    mutates: tuple[str, ...] = ()
    max_elements: int | None = None
    max_rows: int | None = None
    expected: tuple[Expected, ...] = ()
    version: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Case:
    """One concrete call: how to make each tensor, the options, and what flows back.

    ``recipe`` holds the tensors in call order.  ``upstream`` is the gradient that arrives
    at the output; ``None`` means that nothing is back-propagated.
    """

    family: str
    rule: str
    recipe: tuple[tuple[str, TensorRecipe], ...]
    options: tuple[tuple[str, Scalar], ...]
    upstream: TensorRecipe | None
    dtype: str
    device: str

    def tensor(self, name: str) -> TensorRecipe | None:
        """The recipe of the tensor of that name, ``None`` where the call has none."""
        return dict(self.recipe).get(name)

    def option(self, name: str, default: Any = None) -> Any:
        """The option of that name, or ``default`` where the call leaves it out."""
        return dict(self.options).get(name, default)

    @property
    def reduction(self) -> str:
        """The reduction in force, also where the deprecated arguments ask for it."""
        size_average, reduce = self.option("size_average"), self.option("reduce")
        if size_average is None and reduce is None:
            return str(self.option("reduction", "mean"))
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"

    def build(self) -> dict[str, torch.Tensor]:
        """Fresh tensors of this case, by name."""
        from .recipes import build

        return {name: build(recipe, self.device) for name, recipe in self.recipe}

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which :meth:`from_json` makes an equal case."""
        from .recipes import recipe_to_json

        return {
            "family": self.family,
            "rule": self.rule,
            "recipe": {name: recipe_to_json(recipe) for name, recipe in self.recipe},
            "options": dict(self.options),
            "upstream": recipe_to_json(self.upstream) if self.upstream else None,
            "dtype": self.dtype,
            "device": self.device,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Case:
        """The case that :meth:`to_json` described."""
        from .recipes import recipe_from_json

        upstream = data["upstream"]
        return cls(
            family=data["family"],
            rule=data["rule"],
            recipe=tuple(
                (name, recipe_from_json(recipe)) for name, recipe in data["recipe"].items()
            ),
            options=tuple((name, _option(value)) for name, value in data["options"].items()),
            upstream=recipe_from_json(upstream) if upstream else None,
            dtype=data["dtype"],
            device=data["device"],
        )

    def to_python(self, target: str) -> str:
        """A program that needs torch (and the target) alone and shows the call's result."""
        from .reproducer import program

        return program(self, target)


def _option(value: Scalar) -> Scalar:
    """An option read from JSON, in which NaN and infinities are strings."""
    return float(value) if value in ("nan", "inf", "-inf") else value


@dataclass(frozen=True)
class Finding:
    """One discrepancy; ``kind`` folds findings of one cause together."""

    message: str
    got: str = ""
    want: str = ""
    bound: str = ""
    index: tuple[int, ...] | None = None
    kind: str = "value"
    #: Whose entry it is: "loss", the tensor whose gradient is meant, or a name of the rule's.
    of: str = "loss"
    #: The case that was judged, and all that were called for it, in order.
    case: Case | None = None
    calls: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What one comparison saw, whether or not it led to a finding.

    ``discriminating`` is true where zeros, and the oracle's value with one entry doubled,
    would have been outside the bound.
    """

    judged: bool = True
    discriminating: bool = True
    error_over_bound: float | None = None
    error_units: float | None = None


@dataclass
class Observation:
    """All that one call did."""

    case: Case
    value: torch.Tensor
    grads: dict[str, torch.Tensor | None]
    arguments: dict[str, torch.Tensor]
    changed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: BaseException | None = None
    seconds: float = 0.0
    peak_bytes: int | None = None
    precision: Precision = "rounded_rows"
    divergences: Mapping[str, str] = field(default_factory=dict)


Judgement: TypeAlias = Iterator["Finding | Measured"]


@dataclass(frozen=True)
class Rule:
    """One sentence of the contract and the function that judges it."""

    id: str
    level: Level
    families: tuple[str, ...]
    needs: tuple[str, ...]
    from_profile: Profile
    since: str
    revision: int
    sentence: str
    source: str
    cases: Callable[..., SearchStrategy[Case]]
    judge: Callable[..., Judgement]
    #: How many cases, as a multiple of the profile's count.
    share: float = 1.0
    #: How many cases whatever the profile; 0: as ``share`` says.
    count: int = 0
    why: str = ""
    #: The dtypes it is judged in; none named means all.
    dtypes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    #: How often the time limit it may take: compilers take long.
    patience: float = 1.0
    #: What a reproducer does with the tensors; nothing: the calls that the rule made.
    shows: str = ""

    @property
    def theme(self) -> str:
        """The first half of the id: the module that the rule lives in."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Mutant:
    """A deliberately wrong loss, modelled on a real bug, and the rules meant to catch it."""

    implementation: Implementation
    fault: str
    source: str
    caught_by: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Hostile:
    """A loss that does harm to whoever calls it, and what it must be reported as.

    ``outcome`` is that of the results of the ``rules`` (globs) that it concerns, or
    ``refused`` where the run must end as a usage error.  ``says`` stands in the message.
    ``others`` are rules that it does not concern: each must pass.
    """

    implementation: Implementation
    harm: str
    outcome: Outcome | Literal["refused"]
    rules: tuple[str, ...]
    says: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One line of the results file: an implementation under one rule, dtype and device."""

    implementation: str
    family: str
    rule: str
    revision: int
    level: Level
    dtype: str
    device: str
    outcome: Outcome
    cases: int = 0
    judged: int = 0
    discriminating: int = 0
    seconds: float = 0.0
    error_over_bound: float | None = None
    error_units: float | None = None
    message: str = ""
    counterexample: Mapping[str, Any] | None = None
    reproducer: str = ""
    finding: str = ""
    reason: str = ""
    link: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies the result across runs."""
        return (self.implementation, self.rule, self.dtype, self.device)

    def to_json(self) -> dict[str, Any]:
        """The object written to the results file (without ``kind``)."""
        return asdict(self)
