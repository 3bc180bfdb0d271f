"""What is declared can be listed without torch, and loaded."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import subprocess
import sys

import pytest

import nll_impls
from nll_conformance.discover import family
from nll_conformance.model import DTYPES, PRECISIONS, Implementation
from nll_impls import declared, implementations, lazily
from nll_impls.installed import Since, is_there

ALL = implementations()


def by_name(implementation: Implementation) -> str:
    return implementation.name


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys, nll_impls; nll_impls.implementations(); "
        "print([m for m in ('torch', 'hypothesis', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_plain_installation_loads_what_it_lists() -> None:
    """A plain ``pip install`` brings neither numpy nor numba: what needs them says so."""
    code = (
        "import sys\n"
        "sys.modules.update(numpy=None, numba=None, triton=None)\n"
        "import nll_impls, nll_impls.ranks.parcels, torch\n"
        "for item in nll_impls.implementations():\n"
        "    getattr(item.load, 'missing', lambda: None)() or item.load()\n"
        "print(nll_impls.ranks.parcels.Parcel.of(torch.ones(2)).open())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("tensor([1., 1.])\n", 0), done.stderr


def test_every_module_of_declared_contributes() -> None:
    names = [module.name for module in pkgutil.iter_modules(declared.__path__)]
    assert names
    for name in names:
        module = importlib.import_module(f"{declared.__name__}.{name}")
        assert set(module.IMPLEMENTATIONS) <= set(ALL), name


def test_names_are_unique() -> None:
    names = [implementation.name for implementation in ALL]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("implementation", ALL, ids=by_name)
def test_declaration_uses_the_familys_words(implementation: Implementation) -> None:
    words = family(implementation.family)
    assert set(implementation.lacks + implementation.promises) <= set(words.capabilities)
    for key, value in implementation.divergences.items():
        assert value in words.divergences[key]
    assert implementation.precision in (None, *PRECISIONS)
    assert set(implementation.dtypes) <= set(DTYPES)


@pytest.mark.parametrize("implementation", ALL, ids=by_name)
def test_loads_and_pickles(implementation: Implementation) -> None:
    try:
        loaded = pickle.loads(pickle.dumps(implementation.load))()
    except ImportError as error:
        pytest.skip(f"not installed: {error}")
    assert loaded is implementation.load()
    assert callable(loaded)


def test_lazily_gives_the_object_itself() -> None:
    import torch

    load = lazily("torch.nn.functional:cross_entropy")
    assert load() is torch.nn.functional.cross_entropy
    assert lazily("torch:nn.Module")() is torch.nn.Module


def test_what_is_not_installed_is_an_import_error() -> None:
    with pytest.raises(ImportError):
        lazily("nll_impls.absent:loss")()


def test_another_version_of_a_package_is_as_none() -> None:
    with pytest.raises(ImportError, match=r"torch.nn .* has no FutureLoss"):
        lazily("torch.nn:FutureLoss")()
    old, new = Since("torch>=2.0", "torch.nn:NLLLoss"), Since("torch>=99.1", "torch.nn:NLLLoss")
    assert (old.missing(), new.missing()) == (None, "torch>=99.1")
    assert not is_there("no_such_package>=1")


def test_package_says_what_it_exports() -> None:
    assert set(nll_impls.__all__) == {"implementations", "lazily"}
