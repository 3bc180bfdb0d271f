"""How a sentence of the contract is written down: the ``rule`` decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .model import Judgement, Level, Profile, Rule

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from .cases import Context
    from .model import Case

Cases = Callable[["Context"], "SearchStrategy[Case]"]
Judge = Callable[..., Judgement]


@dataclass(frozen=True)
class RuleDraft:
    """A decorated judge, waiting for the id that its place gives it."""

    judge: Judge
    module: str
    facts: dict[str, Any]

    def rule(self, theme: str, families: tuple[str, ...]) -> Rule:
        """The rule that lives in module ``theme``."""
        text = inspect.getdoc(self.judge) or ""
        sentence, _, why = text.partition("\n\n")
        facts = dict(self.facts)
        facts["families"] = facts["families"] or families
        return Rule(
            id=f"{theme}.{self.judge.__name__}",
            judge=self.judge,
            sentence=" ".join(sentence.split()),
            why=" ".join(why.split()),
            **facts,
        )


def rule(
    level: Level,
    *,
    cases: Cases,
    source: str,
    needs: tuple[str, ...] = (),
    families: tuple[str, ...] = (),
    from_profile: Profile = "quick",
    since: str = "1.0",
    revision: int = 1,
    share: float = 1.0,
    count: int = 0,
    dtypes: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    patience: float = 1.0,
    shows: str = "",
) -> Callable[[Judge], RuleDraft]:
    """Make a rule of a judge ``(case, call) -> iterator of Finding and Measured``.

    The first paragraph of its docstring is the published sentence, the rest says why.  The
    id is its place: module and function name.  ``needs`` names capabilities without which
    the rule is not asked; ``source`` says who demands it; ``cases`` draws its cases;
    ``dtypes`` limits it to those (none named means all); ``share`` is how many cases, as a
    multiple of the profile's, ``count`` how many whatever the profile; ``patience`` multiplies
    the time limit.

    ``shows`` is for rules that do more than call and go backward: what a reproducer does
    between making the tensors and comparing the entry that the finding speaks of (``loss``,
    the ``.grad`` of a tensor, or a variable named like what the rule compares).  What is no
    number it asserts itself; SystemExit(0) says that a refusal is right, too.  Blanks:

    - ``{call}``, ``{names}`` of all its tensors, ``{leaves}``: those that require grad;
    - ``{backward}``, ``{tensors}``: lines of their own, for tensors made at the top unless
      they are asked for; ``{other_tensors}``, ``{other_call}``: of the last call;
    - ``{judged}``: the number of the call judged; ``{want}``: what the finding expected;
    - ``{object}``: of the module class, made as for the first call; the calls are then those
      of ``loss_object``; ``{later_calls}``: all but the first, each with its backward;
    - ``{spelt_call}``: with the reduction put together letter by letter.
    - ``{bare_call}``: without copies of what the loss overwrites; ``{mutates}``: of what.
    """
    facts = {
        "level": level,
        "cases": cases,
        "source": source,
        "needs": needs,
        "families": families,
        "from_profile": from_profile,
        "since": since,
        "revision": revision,
        "share": share,
        "count": count,
        "dtypes": dtypes,
        "aliases": aliases,
        "patience": patience,
        "shows": inspect.cleandoc(shows),
    }
    return lambda judge: RuleDraft(judge, judge.__module__, facts)
