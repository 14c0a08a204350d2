"""Tries mutants: each in a process of its own that is forked from one where everything else is
imported. Nothing is written to the sources; the mutant is what an import of its module gives.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Literal

import pytest

from tests.mutation.mutants import Mutant, with_fault
from tests.mutation.targets import ROOT, Module

Outcome = Literal["killed", "survived", "timeout"]

PASSED, FAILED = 0, 1
LEAST_S = 10.0
WAITING = 10
"""So many times its patience a mutant may take when it waits and does not work: the machine may be
busy with other things."""
MEMORY = 2 << 30
"""Most bytes of a mutant's address space: a loop without end may fill a list."""
EXAMPLES = 30
"""Of a property test without a number of its own: a fault that matters shows in that many."""


class _Import(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module's import another code."""

    def __init__(self, module: Module, code: CodeType) -> None:
        self._module, self._code = module, code

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Of that module alone."""
        if name != self._module.name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(ROOT / self._module.file))

    def exec_module(self, module: ModuleType) -> None:
        """Runs the code as that of the module."""
        module.__file__ = str(ROOT / self._module.file)
        exec(self._code, module.__dict__)  # noqa: S102  # our own source with a fault in it


class _Plugin:
    """Has property tests look less long: a fault need not be shown in its smallest form."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Lets property tests stop at the first example that fails."""
        from hypothesis import Phase, settings

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutation", settings(), phases=phases, max_examples=EXAMPLES)
        settings.load_profile("mutation")


def prepare(tests: Sequence[str]) -> float:
    """Runs the tests on the sources as they are; the seconds of processor time they took as those
    of mutants are run, at the least `LEAST_S`.

    Imports here what is not ours and they imported, so that the processes of mutants need not, and
    runs them once more from here: what is found must be the mutant's doing. Raises RuntimeError
    when a test fails.
    """
    with tempfile.TemporaryDirectory(prefix="mailwake-mutation-") as folder:
        told = Path(folder, "modules.json")
        status, _ = _in_child(tests, folder, told)
        if status:
            raise RuntimeError(f"a test fails without a mutant: pytest {' '.join(tests)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in json.loads(told.read_text()):
                with contextlib.suppress(ImportError):  # one that only its own package can import
                    importlib.import_module(name)
        gc.freeze()  # the processes of mutants need not look through all that again
        status, took = _in_child(tests, folder, told)
        if status:
            raise RuntimeError("a test fails without a mutant, run as those of mutants are")
    return max(took, LEAST_S)


def _in_child(tests: Sequence[str], folder: str, told: Path) -> tuple[int, float]:
    """The status of the tests and the processor time they took in seconds, run in a process that
    tells what it has imported."""
    child = os.fork()
    if not child:
        status = FAILED
        try:
            _confine()
            status = _tests(tests, folder)
            told.write_text(json.dumps(_aliens()))
        finally:
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _aliens() -> list[str]:
    """The modules that are imported here and are none of this repository."""
    return [
        name
        for name, module in sys.modules.items()
        if "site-packages" in (getattr(module, "__file__", None) or "")
    ]


def try_all(
    mutants: Iterable[tuple[Module, Mutant]], tests: Sequence[str], patience_s: float, jobs: int
) -> Iterator[tuple[Module, Mutant, Outcome]]:
    """What came of each mutant, in the order in which they end; `jobs` at a time.

    A mutant under which the tests take longer than `patience_s`, as processor time, does not end:
    it counts as found.
    """
    waiting = iter(mutants)
    running: dict[int, tuple[Module, Mutant, tempfile.TemporaryDirectory[str]]] = {}
    while True:
        while len(running) < jobs and (following := next(waiting, None)):
            module, mutant = following
            folder = tempfile.TemporaryDirectory(prefix="mailwake-mutation-")
            child = os.fork()
            if not child:
                signal.setitimer(signal.ITIMER_PROF, patience_s)  # ends it, whatever it hangs in
                signal.alarm(round(WAITING * patience_s))
                _be_mutant(module, mutant, tests, folder.name)
            running[child] = (module, mutant, folder)
        if not running:
            return
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in running:
            module, mutant, folder = running.pop(ended)
            folder.cleanup()
            code = os.waitstatus_to_exitcode(status)
            if code in (-signal.SIGPROF, -signal.SIGALRM):
                yield module, mutant, "timeout"
            else:
                yield module, mutant, "survived" if code == PASSED else "killed"
            continue
        time.sleep(0.01)


def _be_mutant(module: Module, mutant: Mutant, tests: Sequence[str], folder: str) -> None:
    """Ends this process with pytest's status."""
    status = FAILED
    try:
        _confine()
        code = compile(with_fault(module.source, mutant), module.file, "exec")
        sys.meta_path.insert(0, _Import(module, code))
        status = _tests(tests, folder)
    finally:
        os._exit(status)


def _confine() -> None:
    """Has this process say nothing, and take no memory without end."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def _tests(tests: Sequence[str], folder: str) -> int:
    os.chdir(ROOT)
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["--assert=plain"]  # nobody reads why one fails
    options += [f"--basetemp={folder}/tests"]
    # One file after the other: most mutants are found in the first, and the others need no import.
    statuses = (int(pytest.main([*options, test], plugins=[_Plugin()])) for test in tests)
    return next((status for status in statuses if status != PASSED), PASSED)
