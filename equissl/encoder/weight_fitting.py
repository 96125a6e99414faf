"""A backbone's tensors among those of a file: prefixes, renamings, conversions of timm, other image sizes."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from torch import Tensor, nn

from equissl.encoder.published import Inputs
from equissl.encoder.weight_layouts import LAYOUTS
from equissl.errors import UserError

_COPIES = ("student", "encoder_k", "key_encoder", "momentum", "target")  # not what the papers evaluate
_AVERAGES = ("model_ema", "state_dict_ema")  # what timm's scripts evaluate
_CLASSIFIERS = ("fc", "head", "heads", "classifier", "last_linear", "_fc", "head.fc")
_BUFFERS = ("num_batches_tracked", "relative_position_index", "attn_mask", "total_ops", "total_params")
_DEFAULTED = "num_batches_tracked"  # missing in old files; only a momentum of None reads it


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded into a backbone, and from where.

    >>> str(LoadedWeights("w.pt", 122, 122, prefix="module.", ignored=("fc.*",)))
    '122 of 122 tensors from w.pt (prefix "module.", fc.* ignored)'

    Args:
        source: the file, or the published name.
        loaded, wanted: tensors.
        prefix: what stood before every name.
        layout: whose names they were, if not the backbone's.
        others: further prefixes under which the same names stood.
        ignored: groups of tensors that the backbone has no place for, such as a classifier's.
        adapted: names of tensors that were resampled to the backbone's shapes.
        random: names of the backbone's classifier where the file has none; they stay random.
        inputs: how the images of published weights were made.
    """

    source: str
    loaded: int
    wanted: int
    prefix: str = ""
    layout: str = ""
    others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    inputs: Inputs | None = None

    def __str__(self) -> str:
        return self._words(self.source)

    @property
    def words(self) -> str:
        """Without the folder of a file, for outputs that are shared."""
        return self._words(PurePath(self.source).name if Path(self.source).exists() else self.source)

    def _words(self, source: str) -> str:
        notes = [f'prefix "{self.prefix}"'] if self.prefix else []
        notes += [f"also under {self.others[0]!r}"] if self.others else []
        notes += [f"names of {self.layout}"] if self.layout else []
        notes += [f"{_listed(self.ignored, 4)} ignored"] if self.ignored else []
        notes += [f"{_listed(self.adapted, 2)} resampled"] if self.adapted else []
        notes += [f"the classifier's {_listed(self.random, 2)} left random"] if self.random else []
        shown = f" ({', '.join(notes)})" if notes else ""
        return f"{self.loaded} of {self.wanted} tensors from {source}{shown}"


@dataclass(frozen=True)
class Fitted:
    """Tensors by the backbone's names, and how they were found."""

    state: Mapping[str, Tensor]
    report: LoadedWeights


@dataclass(frozen=True)
class _Match:
    """Tensors under one prefix: the backbone's name -> the file's, and the groups that are left."""

    prefix: str
    layout: str
    names: Mapping[str, str]
    same_shape: int

    @property
    def rank(self) -> tuple[int, int, int]:
        return len(self.names), self.same_shape, _preference(self.prefix)


def fit(backbone: nn.Module, found: Mapping[str, Tensor], source: str, name: str = "") -> Fitted:
    """The backbone's tensors among ``found``.

    Raises:
        UserError: some are missing or have other shapes; it names keys, shapes and the nearest prefix.
    """
    wanted = backbone.state_dict()
    optional = _classifier(backbone)
    matches = sorted(_matches(backbone, found, wanted), key=lambda m: m.rank, reverse=True)
    best = matches[0] if matches else _Match("", "", {}, 0)
    state = {own: found[theirs] for own, theirs in best.names.items()}
    converted = _missing(wanted, state, optional) and _converted(backbone, found, wanted, optional)
    if converted:
        prefix, state = converted
        best = _Match(prefix, "an original that timm converts", {}, 0)
    state, adapted = _adapt(backbone, state, wanted)
    missing = _missing(wanted, state, optional)
    wrong = [n for n in state if n in wanted and state[n].shape != wanted[n].shape]
    left_random = [n for n in wanted if _in(n, optional) and (n not in state or n in wrong)]
    wrong = [n for n in wrong if n not in left_random]
    if missing or wrong:
        raise UserError(_misfit(source, name, found, wanted, best, missing, {n: state[n] for n in wrong}))
    ignored = () if converted else _ignored(found, best, optional)
    surplus = [g for g in ignored if _is_surplus(g, best, optional, found)]
    if surplus:
        raise UserError(
            f"weights: {source!r} is of a larger architecture than {name or 'the backbone'}: besides all of "
            f"its {len(wanted)} tensors it holds {_listed(surplus, 4)}; name the model it was saved from"
        )
    taken = {n: t for n, t in state.items() if n in wanted and n not in left_random}
    others = tuple(m.prefix for m in matches[1:] if m.rank[:2] == best.rank[:2] and m.layout == best.layout)
    loaded = len(wanted) - len(left_random)  # counters of batches that old files lack count as loaded
    ignored = tuple(_titled(g, found, best, optional) for g in ignored)
    report = LoadedWeights(source, loaded, len(wanted), best.prefix, best.layout, others, ignored)
    return Fitted(taken, replace(report, adapted=tuple(adapted), random=tuple(left_random)))


def _matches(
    backbone: nn.Module, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Iterator[_Match]:
    """For every layout and every prefix under which any wanted name stands."""
    for title, layout in LAYOUTS.items():
        own = {theirs: n for n, theirs in layout(backbone, list(wanted)).items()}
        by_prefix: dict[str, dict[str, str]] = {}
        for key in found:
            steps = key.split(".")
            for k in range(len(steps)):
                if (theirs := ".".join(steps[k:])) in own:
                    by_prefix.setdefault(key[: len(key) - len(theirs)], {})[own[theirs]] = key
        for prefix, names in by_prefix.items():
            same = sum(found[theirs].shape == wanted[n].shape for n, theirs in names.items())
            yield _Match(prefix, title, names, same)


def _preference(prefix: str) -> int:
    """Which of several copies of an encoder to take: 1 an average, 0 the encoder, -1 a copy beside it."""
    if any(word in prefix for word in _AVERAGES):
        return 1
    return -1 if any(word in prefix for word in _COPIES) else 0


def _missing(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], optional: Sequence[str]) -> list[str]:
    return [n for n in wanted if n not in state and not n.endswith(_DEFAULTED) and not _in(n, optional)]


def _converted(
    backbone: nn.Module, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], optional: Sequence[str]
) -> tuple[str, dict[str, Tensor]] | None:
    """What timm's conversion of the architecture's original weights makes of them; None if nothing fits."""
    for prefix in _roots(found):
        inside = {k[len(prefix) :]: t for k, t in found.items() if k.startswith(prefix)}
        for state in _conversions(backbone, inside):
            if not _missing(wanted, state, optional):
                return prefix, state
    return None


def _conversions(backbone: nn.Module, state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """``state`` through each function of the backbone's file in timm that converts original weights."""
    module = type(backbone).__module__
    if not module.startswith("timm."):
        return
    for function in vars(sys.modules[module]).values():
        if not inspect.isfunction(function) or "filter" not in function.__name__:
            continue
        arguments = list(inspect.signature(function).parameters)
        if not arguments or arguments[0] != "state_dict":
            continue
        try:
            made = function(dict(state), *([backbone] if "model" in arguments else []))
        except Exception:  # it expects other names than these
            continue
        if isinstance(made, dict):
            yield {k: t for k, t in made.items() if isinstance(t, Tensor)}


def _roots(found: Mapping[str, Tensor]) -> Iterator[str]:
    """ "", and every longer prefix that most of the names have."""
    prefix, names = "", list(found)
    while names:
        yield prefix
        heads = Counter(n[len(prefix) :].partition(".")[0] for n in names if "." in n[len(prefix) :])
        if not heads:
            return
        head = max(heads, key=lambda h: (heads[h], _preference(h)))
        if heads[head] < 0.4 * len(names):
            return
        prefix += f"{head}."
        names = [n for n in names if n.startswith(prefix)]


def _adapt(
    backbone: nn.Module, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """``state`` with position embeddings and input convolutions in the backbone's shapes, and their names."""
    from timm.models import adapt_input_conv

    state = dict(state)
    wrong = [n for n in state if n in wanted and state[n].shape != wanted[n].shape]
    resampled = next(_conversions(backbone, state), {}) if wrong else {}
    adapted = []
    for name in wrong:
        theirs, ours = state[name], wanted[name].shape
        made = resampled.get(name)
        if made is None or made.shape != ours:
            inputs = (
                theirs.dim() == 4 and len(ours) == 4 and theirs.shape[1] == 3 and theirs.shape[2:] == ours[2:]
            )
            if not inputs or theirs.shape[0] != ours[0]:
                continue
            made = adapt_input_conv(ours[1], theirs)
        state[name] = made
        adapted.append(name)
    return state, adapted


def _classifier(backbone: nn.Module) -> tuple[str, ...]:
    """Modules of a timm model that map features to classes; a file may have others, or none."""
    stated = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    return (stated,) if isinstance(stated, str) else tuple(stated)


def _in(name: str, modules: Sequence[str]) -> bool:
    return any(name.startswith(f"{m}.") for m in modules)


def _ignored(found: Mapping[str, Tensor], match: _Match, optional: Sequence[str]) -> tuple[str, ...]:
    """The tensors under the match's prefix that it does not take, in groups: "fc.*", "projector.*"."""
    used = set(match.names.values())
    left = [k[len(match.prefix) :] for k in found if k.startswith(match.prefix) and k not in used]
    left = [k for k in left if not k.endswith(_BUFFERS)]
    groups = (next((m for m in (*optional, k.partition(".")[0]) if _in(k, (m,))), k) for k in left)
    return tuple(dict.fromkeys(g if g in left else f"{g}.*" for g in groups))


def _titled(group: str, found: Mapping[str, Tensor], match: _Match, optional: Sequence[str]) -> str:
    """ "classifier fc.*" for a group that is just the linear layer which timm's model has in that place."""
    module = group.removesuffix(".*")
    linear = f"{match.prefix}{module}.weight" in found and module in optional
    return f"classifier {group}" if linear else group


def _is_surplus(group: str, match: _Match, optional: Sequence[str], found: Mapping[str, Tensor]) -> bool:
    """Whether a group of tensors belongs to a module that the backbone has too, but smaller."""
    module = group.removesuffix(".*")
    roots = {theirs[len(match.prefix) :].partition(".")[0] for theirs in match.names.values()}
    return module in roots and module not in (*optional, *_CLASSIFIERS)


def _misfit(
    source: str,
    name: str,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    best: _Match,
    missing: Sequence[str],
    wrong: Mapping[str, Tensor],
) -> str:
    """Keys, shapes and the nearest prefix of weights that do not fit."""
    parts = [f"weights: {source!r} does not fit {name or 'the backbone'}"]
    if missing:
        near = difflib.get_close_matches(missing[0], found, n=1, cutoff=0.4)
        hint = f"; nearest in the file: {near[0]!r}" if near else ""
        parts.append(f"{len(missing)} of {len(wanted)} tensors are missing (first: {missing[0]!r}{hint})")
    if wrong:
        first = next(iter(wrong))
        shapes = f"{tuple(wrong[first].shape)} in the file, {tuple(wanted[first].shape)} wanted"
        parts.append(f"{len(wrong)} have another shape (first: {first!r}, {shapes})")
    parts.append(f'nearest prefix: "{best.prefix}" with {len(best.names)} of the names')
    parts.append(f"the file holds {len(found)} tensors: {_listed(list(found), 4)}")
    parts.append(f"wanted: {_listed(list(wanted), 4)}")
    return "; ".join(parts)


def _listed(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
