"""The worker's side of a run: load a target, plan its rules, run them one by one.

The same engine serves a supervised worker and a run within the process.
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from . import gpu, shared, shown, state
from .cases import Stepping, Variation, forward_only, settled, simplest
from .declare import Amendments, Subject, subject_of
from .discover import family, family_names, family_part, rules, rules_of
from .errors import TargetRaised, UsageError, unknown
from .foreign import came_from_outside, described, users_own
from .mistakes import looks_like
from .model import DEVICES, DTYPES, PROFILES, Case, Finding, Implementation, Result, Rule
from .observe import Caller
from .originals import picture
from .reproducer import program
from .rules import LIKELIEST
from .run import (
    Mode,
    context_for,
    missing,
    no_announcement,
    no_reproducer,
    replay_case,
    run_rule,
)
from .targets import resolve
from .wish import Wish

SIMPLEST = "call.simplest"
#: What the reproducers of rules do that a refusal passes.
REFUSALS = tuple(inspect.cleandoc(text) for text in (shown.RAISES, shown.RIGHT_OR_RAISES))
#: Themes whose failures may come of a classic mistake as a whole.
MISTAKABLE = ("call", "values", "reductions", *family_names())


class Engine:
    """One target, loaded; its rules, planned; run on request."""

    def __init__(
        self, wish: Wish, announce: Callable[[Case], None], target: Any | None = None
    ) -> None:
        self.wish = wish
        # Verdicts need no counter-example, not even one of a process that died.
        self._announce = no_announcement if wish.verdicts_only else announce
        self._guessed: tuple[str | None, ...] = ()
        self.subject = self._load(target)
        self.rules = rules_of(self.subject.implementation.family)
        database = Path(wish.database) if wish.database else None
        self.mode = Mode(wish.profile, wish.seed, database, wish.verdicts_only)
        if wish.verdicts_only:
            shared.keep_for_others()

    def _load(self, target: Any | None) -> Subject:
        """Import the target, which is foreign code already, and read its declaration."""
        wish, originals = self.wish, picture()
        amendments = Amendments(wish.family, wish.supports, wish.lacks, dict(wish.declare))
        try:
            found = resolve(wish.target) if target is None else target
            self._found_implementation = isinstance(found, Implementation)
            subject = subject_of(found, wish.target, amendments)
        except UsageError:
            raise
        except BaseException as error:
            if users_own(error) or not came_from_outside(error):
                raise
            why = described(error)
            raise UsageError(f"target {wish.target!r} cannot be loaded: {why}") from error
        return replace(subject, replaced=originals.put_back(everything=True))

    def describe(self) -> dict[str, Any]:
        """What the supervisor needs to know: the declaration, the plan, facts of rules."""
        declared = self.subject.implementation
        jobs = self.plan()
        return {
            "described": {
                "name": declared.name,
                "family": declared.family,
                "family_assumed": self.subject.family_assumed,
                "declaration": self.subject.declaration,
                "capabilities": sorted(self.subject.capabilities & set(self._mentioned())),
                "lacks": list(declared.lacks),
                "promises": list(declared.promises),
                "divergences": dict(declared.divergences),
                "divergences_seen": {},
                "precision": declared.precision,
                "dtypes": sorted({job[1] for job in jobs}, key=DTYPES.index),
                "devices": sorted({job[2] for job in jobs}),
                "version": declared.version,
                "target": self.wish.target,
            },
            "expected": [asdict(entry) for entry in declared.expected],
            "jobs": jobs,
            "rules": {
                rule.id: {
                    "sentence": rule.sentence,
                    "source": rule.source,
                    "needs": list(rule.needs),
                    "refusal_passes": rule.shows in REFUSALS,
                    "level": rule.level,
                    "revision": rule.revision,
                    "aliases": list(rule.aliases),
                    "patience": rule.patience,
                }
                for rule in self.rules.values()
            },
            "environment": environment(),
        }

    def _mentioned(self) -> tuple[str, ...]:
        """Capabilities worth naming: arguments and contract, and what is promised."""
        contract = family(self.subject.implementation.family)
        return (
            *contract.arguments,
            *contract.contract,
            *self.subject.implementation.promises,
        )

    def plan(self) -> list[tuple[str, str, str]]:
        """The (rule, dtype, device) triples to judge, in the order to judge them."""
        chosen = self._chosen()
        wanted = PROFILES.index(self.wish.profile)
        jobs = [
            (rule.id, dtype, device)
            for device in self._devices()
            for dtype in self._dtypes()
            for rule in chosen
            if PROFILES.index(rule.from_profile) <= wanted
            and (not rule.dtypes or dtype in rule.dtypes)
        ]
        # Bad input may end a process's use of its GPU.
        return sorted(jobs, key=lambda job: job[2] == "cuda" and job[0].startswith("errors."))

    def _chosen(self) -> list[Rule]:
        globs = self.wish.rules
        former = {alias: rule.id for rule in rules().values() for alias in rule.aliases}
        chosen = [
            rule
            for rule in self.rules.values()
            if not globs or any(fnmatch.fnmatch(rule.id, former.get(g, g)) for g in globs)
        ]
        for glob in globs:
            if any(fnmatch.fnmatch(rule.id, former.get(glob, glob)) for rule in chosen):
                continue
            # A rule of another family is for another target.
            if not fnmatch.filter(rules(), former.get(glob, glob)):
                raise unknown("rule", glob, self.rules)
        if self.wish.fail_fast:
            place = {rule_id: number for number, rule_id in enumerate(LIKELIEST)}
            chosen.sort(key=lambda rule: place.get(rule.id, len(place)))
        return chosen

    def _dtypes(self) -> tuple[str, ...]:
        declared = self.subject.implementation.dtypes
        for dtype in self.wish.dtypes:
            if dtype not in DTYPES:
                raise unknown("dtype", dtype, DTYPES)
        wanted = self.wish.dtypes or (
            ("float32", "bfloat16") if self.wish.profile == "quick" else declared
        )
        dtypes = tuple(d for d in wanted if d in declared)
        if not dtypes and self.wish.dtypes:
            raise UsageError(
                f"{self.wish.target!r} declares only {', '.join(declared)}; "
                f"asked for was {', '.join(self.wish.dtypes)}."
            )
        return dtypes or declared[:1]

    def _devices(self) -> tuple[str, ...]:
        for device in self.wish.devices:
            if device not in DEVICES:
                raise unknown("device", device, DEVICES)
            if device == "cuda" and not torch.cuda.is_available():
                raise UsageError("device 'cuda' was asked for, but torch sees no GPU here.")
            if device not in self.subject.implementation.devices:
                declared = ", ".join(self.subject.implementation.devices)
                raise UsageError(f"{self.wish.target!r} declares only the devices {declared}.")
        return self.wish.devices

    @state.kept()
    def smoke(self, device: str | None = None) -> None:
        """Can a plain call be made at all?  UsageError blames call or family if not.

        Nothing is asked about values.  Who refuses the simplest call alone is judged.
        """
        dtype, device = self._dtypes()[0], device or self._devices()[0]
        context = context_for(self.subject, SIMPLEST, dtype, device)
        plain = (simplest(context, forward_only), settled(context, Stepping(3), forward_only))
        hindered = self._hindrance(plain[0])
        if hindered and self._hindrance(plain[1]):
            raise UsageError(self._blame(hindered))

    def _hindrance(self, case: Case) -> str:
        """Why the call of a case cannot be made; empty if it can."""
        try:
            value = Caller(self.subject, self._announce)(case).value
        except TargetRaised as raised:
            return described(raised.error)
        # A loss that cannot reduce returns the rows; "mean" gives one number.
        numbers = family(case.family).numbers(case)
        if case.reduction == "none" or value.numel() == numbers:
            return ""
        wanted = "one number" if numbers == 1 else f"{numbers} numbers"
        return f"it returned {tuple(value.shape)} where reduction 'mean' gives {wanted}"

    def _simplest(
        self,
        rule: str,
        *variations: Variation,
        dtype: str | None = None,
        device: str | None = None,
    ) -> Case:
        dtype, device = dtype or self._dtypes()[0], device or self._devices()[0]
        context = context_for(self.subject, rule, dtype, device)
        return simplest(context, *variations, forward_only)

    def _blame(self, what: str) -> str:
        contract = self.subject.implementation.family

        text = (
            f"target {self.wish.target!r} cannot be called as {family(contract).call} "
            f"(family {contract}): {what}"
        )
        for name, value in self.subject.own_defaults.items():
            text += f"; its default of {name} is {value!r}"
        fitting = [name for name in family_names() if name != contract and self._fits(name)]
        if fitting:
            return f"{text}. The call of family {fitting[0]!r} works: add --family {fitting[0]}"
        return text

    def _fits(self, name: str) -> bool:
        """Whether the simplest call of another family works."""
        try:
            subject = subject_of(self.subject.function, self.wish.target, Amendments(name))
            context = context_for(subject, SIMPLEST, "float32", self.wish.devices[0])
            case = simplest(context, forward_only)
            seen = Caller(subject, self._announce)(case)
        except (TargetRaised, UsageError):
            return False
        return seen.value.numel() == family(name).numbers(case)

    @state.kept()
    def probe(self) -> dict[str, str]:
        """How the loss behaves where libraries legitimately differ and it declares nothing.

        What is seen here is what every case must then show.
        """
        seen: dict[str, str] = {}
        contract = self.subject.implementation.family
        probes = getattr(family_part(contract, "cases"), "PROBES", {})
        for key, (needs, dtype, variations, classify) in probes.items():
            if key in self.subject.divergences or not needs <= self.subject.capabilities:
                continue
            if dtype and dtype not in self.subject.implementation.dtypes:
                continue
            case = self._simplest(f"probe.{key}", *variations, dtype=dtype)
            try:
                word = classify(Caller(self.subject, self._announce)(case))
            except TargetRaised:
                continue
            if word is not None:
                seen[key] = word
        self.assume(seen)
        return seen

    def assume(self, seen: Mapping[str, str]) -> None:
        """Hold the loss to behaviour that was seen (by another worker, perhaps)."""
        self.subject = replace(self.subject, divergences={**seen, **self.subject.divergences})

    def run(
        self, rule_id: str, dtype: str, device: str, pinned: Iterable[Mapping[str, Any]] = ()
    ) -> Result:
        """The result of one rule, with a reproducer where it failed."""
        result = run_rule(
            self.subject,
            self.rules[rule_id],
            dtype,
            device,
            mode=self.mode,
            announce=self._announce,
            pinned=[Case.from_json(case) for case in pinned],
            reproduce=no_reproducer if self.wish.verdicts_only else self.reproducer,
        )
        if self.wish.verdicts_only:
            return result
        mistakable = self.rules[rule_id].theme in MISTAKABLE and not gpu.lost()
        if result.outcome == "fail" and mistakable:
            guess = self._guess(device)
            if guess is not None:
                return replace(result, message=f"{result.message}. A guess: {guess}")
        return result

    def _guess(self, device: str) -> str | None:
        """Which classic mistake the loss looks like; asked once, of a loss that failed."""
        if not self._guessed:
            with state.kept():
                self._guessed = (looks_like(self.subject, device),)
        return self._guessed[0]

    @state.kept()
    def replay(self, case: Case) -> Result:
        """Judge one case again under its rule."""
        return replay_case(
            self.subject, self.rules[case.rule], case, self._announce, self.reproducer
        )

    def reproducer(self, case: Case, finding: Finding | None = None) -> str:
        """The case as a program of its own."""
        load = self.subject.implementation.load
        return program(
            case,
            self._where(),
            finding=finding,
            shows=self.rules[case.rule].shows if case.rule in self.rules else "",
            forward_only=self.subject.forward_only,
            load="()" if hasattr(load, "where") else ".load()" if self._needs_load() else "",
            fixed=self.subject.fixed,
            mutates=self.subject.implementation.mutates,
        )

    def _where(self) -> str:
        """Where the loss can be imported from, if that is known."""
        load = self.subject.implementation.load
        return str(getattr(load, "target", getattr(load, "where", self.wish.target)))

    def _needs_load(self) -> bool:
        """Whether the target names an Implementation and not the loss itself."""
        load = self.subject.implementation.load
        return self._found_implementation and not hasattr(load, "target")

    def unsupported(self, rule_id: str) -> str:
        """Why a rule cannot be asked of this subject; empty if it can."""
        return missing(self.subject, self.rules[rule_id])


def environment() -> dict[str, Any]:
    """Versions and settings that may matter for a verdict."""
    import platform

    import hypothesis

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "hypothesis": hypothesis.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "tf32": False,
    }
