"""One public door: what is in ``visum.__all__`` is there, is sorted, and costs nothing until it is used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import visum


def test_all_is_sorted_complete_and_resolves() -> None:
    assert visum.__all__ == sorted(visum.__all__)
    assert dir(visum) == visum.__all__
    assert set(visum.__all__) == set(visum._HOMES) | {"__version__"}
    for name, home in visum._HOMES.items():
        found = getattr(visum, name)
        assert found.__name__ == name
        assert found.__module__ == home or found.__module__.startswith(f"{home}.")
        assert inspect.getdoc(found), f"{name} has no docstring"


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(visum))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert homes == visum._HOMES


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'fit'; it has Answer, Bundle.*verify"):
        visum.fit  # noqa: B018


def test_importing_visum_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; before = set(sys.modules); begin = time.process_time(); import visum; dir(visum)\n"
        "spent = time.process_time() - begin\n"
        "outside = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names) - {'visum'}\n"
        "print(sorted(outside), spent < 0.3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] True"
