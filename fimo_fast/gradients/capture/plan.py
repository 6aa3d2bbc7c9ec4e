"""How each parameter's gradient is computed, decided on a few examples and verified there.

For each selected parameter the cheapest path that is exact: the rules of the layers that use it; else torch.func at the
module that owns it, from that module's own calls; else differentiation of the whole model by that parameter alone. What
hooks cannot see (a weight used outside its module, examples that are mixed inside) shows in the verification, which
compares every parameter with plain differentiation of one example at a time.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ...problem import Examples, Problem
from ...problem.trees import named_leaves
from .. import rules
from ..batch_axis import SIZES, CallAxes, Observer, by_example, call_axes
from ..parameters import owners
from ..rules import Call, Terms
from ..terms import Dense, Term
from . import per_module
from .data_dependence import IndexingRecorder, picks_rows
from .hooks import Site, UnlikeTrial, capture
from .model_state import as_captured
from .probe import combination, distinct, equal
from .whole_model import each_alone, vectorised

_TRIAL_IN_FLOAT64 = 16 * 2**20  # parameters; of a larger model no copy is made
_KEPT = 4 * 2**20  # parameters; gradients of a larger one are made again for each verification
FUNCTIONAL, PER_EXAMPLE = "torch.func", "one by one"


@dataclass(frozen=True)
class Plan:
    """The path of each parameter.

    Attributes:
        sites: Modules whose calls are captured.
        rest: Parameters obtained by differentiating the whole model.
        vectorised: Whether torch.func does that for the whole batch at once; else one example after the other.
        paths: {parameter: the rules' names, "torch.func" or "one by one"}.
        verify: Whether rows may be of other examples in the next batch, so that each is checked.
        repeated: Parameters with several terms.
        activations: Numbers that one example's forward pass makes, about.
    """

    sites: list[Site]
    rest: list[str]
    vectorised: bool
    verify: bool
    paths: dict[str, str]
    repeated: frozenset[str]
    activations: int


# {model: {what it was tried with: its plan}}, so that a model is tried once. The sites have no modules there, which
# would keep the model alive.
_TRIED: WeakKeyDictionary[nn.Module, dict[object, Plan]] = WeakKeyDictionary()


def make_plan(problem: Problem, examples: Examples) -> Plan:
    """Tries the paths on the first examples, in float64 where a copy of the model is affordable.

    A fixed function of the model's outputs is differentiated, not the loss, which may be flat there. The plan is
    kept for the same model, parameters and kind of inputs.

    Args:
        problem: Model, loss and parameters.
        examples: The first three are tried, the same again where there are fewer.

    Warns:
        UserWarning: Some parameters do not go through a rule.
    """
    model = problem.model
    plans = _TRIED.setdefault(model, {})
    key = _fingerprint(problem, examples)
    if key not in plans:
        few = examples[torch.arange(SIZES[-1]) % len(examples)]
        with torch.autocast(problem.device.type, enabled=False):
            exact = _in_float64(problem, few)
            probe, few = exact or (problem, few)
            found = _Trial(probe.with_output_fn(combination), few, keep=problem.numel <= _KEPT).plan()
        nowhere = nn.Module()
        plans[key] = replace(found, sites=[replace(site, module=nowhere) for site in found.sites])
        _warn(found.paths)
    modules = dict(model.named_modules())
    return replace(plans[key], sites=[replace(site, module=modules[site.name]) for site in plans[key].sites])


def _fingerprint(problem: Problem, examples: Examples) -> object:
    """What a plan depends on, as far as it shows from outside."""
    modules = tuple((name, id(m), type(m), m.training) for name, m in problem.model.named_modules())
    inputs = tuple((name, leaf.dim(), leaf.dtype) for name, leaf in named_leaves(examples.inputs, ""))
    return (
        tuple(problem.shapes),
        problem.dtype,
        modules,
        inputs,
        rules.count(),
        distinct(examples[slice(0, SIZES[-1])]),
    )


def _in_float64(problem: Problem, few: Examples) -> tuple[Problem, Examples] | None:
    """A copy of the problem in float64, if it is affordable and the model can run in it."""
    if sum(p.numel() for p in problem.model.parameters()) > _TRIAL_IN_FLOAT64:
        return None
    copy, examples = problem.to(torch.float64), few.to(torch.float64)
    try:
        with as_captured(copy, frozenset()), torch.no_grad():
            copy.call(examples.inputs)
    except RuntimeError:  # an operation without a float64 kernel
        return None
    return copy, examples


class _Trial:
    """Paths of the parameters, tried from the cheapest on."""

    def __init__(self, problem: Problem, few: Examples, keep: bool) -> None:
        self.problem = problem
        self.few = few
        self.exact = list(each_alone(problem, few, "output")) if keep else None
        self.calls = self._observe()
        self.modules = dict(problem.model.named_modules())
        self.owners = owners(problem)

    def plan(self) -> Plan:
        """The cheapest path of each parameter that reproduces its gradient."""
        found: dict[str, list[Site]] = {}
        terms: Counter[str] = Counter()
        pending = list(self.problem.shapes)
        at_owner = (self._at_owner(per_module.together, FUNCTIONAL), self._at_owner(per_module.one_by_one, PER_EXAMPLE))
        for propose in (self._by_rules, *at_owner):
            proposed = {name: sites for name in pending if (sites := propose(name))}
            verified, counts = self._verify(_merged(proposed))
            found |= {name: sites for name, sites in proposed.items() if name in verified}
            terms.update({name: count for name, count in counts.items() if name in verified})
            pending = [name for name in pending if name not in verified]
        if len({sites[0].give for sites in found.values()}) > 1:  # apart they work; together?
            verified, _ = self._verify(_merged(found))
            pending += found.keys() - verified
            found = {name: sites for name, sites in found.items() if name in verified}
        vectorised = self._rest_by_func(pending)
        paths = {name: " + ".join(sorted({site.path for site in found[name]})) for name in found}
        paths |= dict.fromkeys(pending, FUNCTIONAL if vectorised else PER_EXAMPLE)
        return Plan(
            sites=_merged(found),
            rest=pending,
            vectorised=vectorised,
            verify=self.picks_rows
            or not distinct(self.few)
            or (self.branches and any(call.folded for site in _merged(found) for call in site.calls)),
            paths={name: paths[name] for name in self.problem.shapes},
            repeated=frozenset(name for name, count in terms.items() if count > 1),
            activations=self.activations,
        )

    def _observe(self) -> dict[str, list[CallAxes]]:
        observed, operations = [], []
        for size in SIZES:
            with ExitStack() as stack:
                stack.enter_context(as_captured(self.problem, self.problem.shapes.keys()))
                stack.enter_context(torch.enable_grad())
                observer = stack.enter_context(Observer(self.problem.model))
                recorder = stack.enter_context(IndexingRecorder())
                self.problem.call(self.few[slice(0, size)].inputs)
            observed.append(observer.calls)
            operations.append(recorder.seen)
        self.picks_rows, self.branches = picks_rows(*operations), recorder.branches
        outputs = (shape for calls in observed[0].values() for call in calls for shape in call[1] if shape is not None)
        self.activations = sum(shape.numel() for shape in outputs) // SIZES[0]
        return call_axes(*observed)

    def _by_rules(self, name: str) -> list[Site]:
        """Sites at all layers with a rule that own the parameter; uses elsewhere show in the verification."""
        sites = (self._covered(owner, leaf, name) for owner, leaf in self.owners[name].items())
        return [site for site in sites if site]

    def _covered(self, owner: str, leaf: str, name: str) -> Site | None:
        within = leaf
        for at in _upwards(owner):
            found = rules.find(self.modules[at])
            if found and within in found[1] and (calls := self._layer_calls(at)):
                return Site(at, self.modules[at], {within: name}, found[0], calls, found[0].__name__, is_layer=True)
            within = f"{at.rpartition('.')[2]}.{within}"
        return None

    def _layer_calls(self, name: str) -> list[CallAxes] | None:
        """Axes of the calls of a layer whose first input and first output tell the examples apart."""
        calls = self.calls.get(name)
        if calls and all(by_example(call.inputs[:1]) and by_example(call.outputs[:1]) for call in calls):
            return calls
        return None

    def _at_owner(self, give: Callable[[Call], Terms], path: str) -> Callable[[str], list[Site]]:
        def propose(name: str) -> list[Site]:
            if len(self.owners[name]) > 1:  # whose uses are whose is not known
                return []
            ((owner, leaf),) = self.owners[name].items()
            within = leaf
            for at in _upwards(owner):
                if not at:
                    break  # the whole model is left to the rest
                calls = self.calls.get(at)
                if calls and all(call.replayable for call in calls):
                    return [Site(at, self.modules[at], {within: name}, give, calls, path, is_layer=False)]
                within = f"{at.rpartition('.')[2]}.{within}"
            return []

        return propose

    def _verify(self, sites: list[Site]) -> tuple[set[str], Counter[str]]:
        """The parameters whose terms add up to their gradients, and how many terms each had."""
        if not sites:
            return set(), Counter()
        failed: set[str] = set()
        got: dict[str, list[Term]] = defaultdict(list)
        guarded = [replace(site, give=_guarded(site, failed)) for site in sites]
        try:
            failed |= capture(self.problem, guarded, self.few, "output", lambda name, term: got[name].append(term))
        except (RuntimeError, UnlikeTrial):
            # A tensor that is the same for all examples is made one for each; not every model can go on with that.
            rest = [site for site in sites if not any(call.expands for call in site.calls)]
            if len(rest) == len(sites):
                raise
            return self._verify(rest)
        names = {name for site in sites for name in site.parameters.values()} - failed
        counts = Counter({name: len(terms) for name, terms in got.items()})
        return self._right({name: got[name] for name in names}), counts

    def _right(self, got: Mapping[str, list[Term]]) -> set[str]:
        """The parameters whose terms add up to plain differentiation's gradients, for each example."""
        right = set(got)
        for b, exact in enumerate(self.exact or each_alone(self.problem, self.few, "output")):
            scale = max((float(g.abs().max()) for g in exact.values() if g.numel()), default=0.0)
            right -= {name for name in right if not equal(exact[name], [p[b : b + 1] for p in got[name]], scale)}
        return right

    def _rest_by_func(self, rest: list[str]) -> bool:
        if not rest:
            return True
        try:
            got = vectorised(self.problem.with_parameters(rest), self.few, "output")
        except RuntimeError:
            return False
        return self._right({name: [Dense.of(got[name])] for name in rest}) == set(rest)


def _guarded(site: Site, failed: set[str]) -> Callable[[Call], Terms]:
    """The rule; where it cannot handle the module, its parameters have failed and the trial goes on."""

    def give(call: Call) -> Terms:
        try:
            terms = list(site.give(call))
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError):
            failed.update(site.parameters.values())
            return
        yield from terms

    return give


def _merged(found: Mapping[str, list[Site]]) -> list[Site]:
    """One site for each module and rule."""
    merged: dict[tuple[str, object], Site] = {}
    for sites in found.values():
        for site in sites:
            before = merged.get((site.name, site.give))
            parameters = {**(before.parameters if before else {}), **site.parameters}
            merged[site.name, site.give] = replace(site, parameters=parameters)
    return list(merged.values())


def _upwards(name: str) -> Iterable[str]:
    """A module's name and those of the modules around it, the model last."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def _warn(paths: Mapping[str, str]) -> None:
    slow = {path: [name for name, taken in paths.items() if taken == path] for path in (FUNCTIONAL, PER_EXAMPLE)}
    for path, names in slow.items():
        if names:
            how = "through torch.func" if path == FUNCTIONAL else "one example at a time"
            listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            warnings.warn(f"gradients: no layer rule gives the gradients of {listed}; they go {how}", stacklevel=5)
