"""Invented reports for the tests of the renderers."""

from __future__ import annotations

from nll_conformance.model import Result
from nll_conformance.report import Report, RuleFacts

HOSTILE = (
    "\x1b[2J\x00\udcff </testcase>]]><script>alert(1)</script> | `code` ```\n"
    '{"kind":"result","outcome":"pass"}\n\u202e@user https://evil.example [x](y) [red]b[/red]'
)
PROGRAM = "import torch\n\ninput = torch.tensor([0.5])\nassert input.sum() == 0\n"

FACTS = {
    "gradients.plain": RuleFacts(
        "The gradient is the exact one, within the bound.",
        "torch.nn.CrossEntropyLoss",
        ("gradient",),
    ),
    "shapes.spatial": RuleFacts("Spatial logits work.", "docs", ("spatial", "weight")),
    "shapes.unbatched": RuleFacts("Unbatched logits work.", "docs", ("unbatched",)),
    "weight.scales": RuleFacts("Weights scale.", "docs", ("weight",)),
}


def result(
    rule: str,
    outcome: str = "pass",
    implementation: str = "fused_ce",
    dtype: str = "float32",
    level: str = "must",
    **fields: object,
) -> Result:
    start = (implementation, "cross_entropy", rule, 1, level, dtype, "cpu", outcome)
    return Result(*start, **fields)  # type: ignore[arg-type]


def report(*found: Result, complete: bool = True, **header: object) -> Report:
    names = dict.fromkeys(one.implementation for one in found)
    known = {
        "implementations": [
            {
                "name": name,
                "family": "cross_entropy",
                "family_assumed": True,
                "declaration": "inferred",
                "capabilities": ["weight"],
                "lacks": [],
                "promises": [],
                "target": f"mykernel.py:{name}",
            }
            for name in names
        ],
        "spec_version": "1.0",
        "profile": "quick",
        "mode": "deterministic",
        "seed": 7,
    }
    return Report({**known, **header}, found, {"interrupted": False} if complete else None)


FAILING = (
    result("values.exact"),
    result("weight.scales"),
    result("values.late", "fail", level="should", finding="late", message="late"),
    result(
        "gradients.plain",
        "fail",
        message="gradient of input[0, 1] is 0.25, expected 0: off by 0.25",
        finding="value",
        reproducer=PROGRAM,
        error_over_bound=1234.5,
    ),
    result("gradients.plain", "fail", dtype="bfloat16", finding="value", message="gradient"),
    *(
        result(f"mask.r{i}", "fail", finding="value", message="gradient of input is wrong")
        for i in range(14)
    ),
    result("shapes.spatial", "fail", finding="raised", message="the call raised ValueError"),
    result("shapes.unbatched", "fail", finding="raised", message="the call raised ValueError"),
    result("reuse.second", "crash", message="signal 11"),
    result("reuse.third", "timeout", message="30 s"),
    result("soft_target.values", "unsupported", reason="lacks soft_target"),
    result("soft_target.gradient", "unsupported", reason="lacks soft_target"),
    result("determinism.repeat", "inconclusive", reason="no discriminating case"),
)
