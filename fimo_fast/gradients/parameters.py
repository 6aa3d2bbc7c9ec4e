"""Which modules hold which parameters."""

from __future__ import annotations

from collections import defaultdict

from ..problem import Problem


def owners(problem: Problem) -> dict[str, dict[str, str]]:
    """{parameter: {module that holds it: its name there}} of the selected parameters; tied ones have several."""
    names = {id(p): name for name, p in problem.model.named_parameters()}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for module_name, module in problem.model.named_modules():
        for leaf, p in module._parameters.items():
            if p is not None and names[id(p)] in problem.shapes:
                found[names[id(p)]][module_name] = leaf
    return found
