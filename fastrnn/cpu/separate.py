"""Kernels that are compiled separately: once for all that call them, and in a first fit by a second process meanwhile.

What a kernel calls is usually linked into it (`linking.py`). A separate kernel is machine code of its own, which others
call by its address. That stands in a place in memory that has a name, a symbol, which is all that the callers know: so
they can be compiled before it is, and be kept on disk. A call costs a load and loses nothing but inlining; separate is
what is called once a batch, or once a large product.

Numba compiles one kernel at a time, under a lock, and so does LLVM; hence a process, not a thread. It leaves what it
compiles in the cache on disk, where the first one finds it; if it fails, the first one compiles all itself.
"""

import ctypes
import functools
import hashlib
import importlib
import json
import subprocess
import sys
import time

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, typed_passes
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import lower_builtin

PREFIX = "fastrnn:"


class Separate(CPUDispatcher):
    """A separate kernel; only other kernels call it.

    Parameters
    ----------
    function : callable
        Of a module, so that its name finds this object there.
    result : numba type
        What it returns; declared, so that its callers can be compiled without looking into it.
    options : dict
        Numba's.
    """

    def __init__(self, function, result, options, pipeline_class):
        options = {"nopython": True, "boundscheck": None, "no_cpython_wrapper": True, "no_cfunc_wrapper": True} | options
        super().__init__(function, targetoptions=options, pipeline_class=pipeline_class)
        self._result, self._places = result, {}
        self._type = types.Function(type("Called", (_Called,), {"key": self}))
        lower_builtin(self, types.VarArg(types.Any))(self._call)

    @property
    def _numba_type_(self):
        return self._type

    def place(self, kinds):
        """The symbol of the place of the address of the version for arguments of these types."""
        digest = hashlib.sha256(repr(kinds).encode()).hexdigest()[:16]
        symbol = f"{PREFIX}{self.__module__}:{self.__name__}:{digest}"
        if symbol not in self._places:
            place = ctypes.c_void_p()
            llvm.add_symbol(symbol, ctypes.addressof(place))
            self._places[symbol] = kinds, place
        return symbol

    def provide(self, kinds):
        """Put the address of that version in its place; load or compile it first."""
        _, place = self._places[self.place(kinds)]
        if not place.value:
            wait()
            self.compile(kinds)
            result = self.overloads[kinds]
            place.value = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)

    def is_kept(self, kinds):
        """Whether the cache on disk has that version."""
        return bool(kinds in self.overloads or self._cache.load_overload(kinds, self.targetctx))

    def _call(self, context, builder, signature, args):
        """Emit a call."""
        convention = context.call_conv
        kind = convention.get_function_type(signature.return_type, signature.args).as_pointer()
        place = cgutils.add_global_variable(builder.module, kind, self.place(signature.args)) \
            if self.place(signature.args) not in builder.module.globals else builder.module.globals[self.place(signature.args)]
        function = builder.load(place)
        _, value = convention.call_function(builder, function, signature.return_type, signature.args, args)
        return value


class _Called(AbstractTemplate):
    """How Numba finds the types of a call of a separate kernel."""

    def generic(self, args, kws):
        return signature(self.key._result, *map(types.unliteral, args))


def provide(module, name, kinds):
    """`Separate.provide` of the kernel of that name."""
    getattr(importlib.import_module(module), name).provide(kinds)


@register_pass(mutates_CFG=True, analysis_only=False)
class LoweringCaller(typed_passes.NativeLowering):
    """Lower a function that Python calls, and provide the separate ones that it calls: now, and whenever it is loaded."""

    _name = "fastrnn_lowering_caller"

    def run_pass(self, state):
        done = super().run_pass(state)
        for variable in state.library._final_module.global_variables:
            if variable.name.startswith(PREFIX):
                _, module, name, _ = variable.name.split(":")
                kinds, _ = getattr(importlib.import_module(module), name)._places[variable.name]
                provided = functools.partial(provide, module, name, kinds)
                provided()
                state.reload_init.append(provided)
        return done


HELPERS = []


def meanwhile(module, name, *arguments):
    """Start a process that compiles the (kernel, types) which that function of that module lists."""
    parts = getattr(importlib.import_module(module), name)(*arguments)
    if all(kernel.is_kept(kinds) for kernel, kinds in parts):
        return
    code = (
        "import importlib, json, sys; path, module, name, arguments = json.loads(sys.argv[1]); sys.path[:] = path\n"
        "for kernel, kinds in getattr(importlib.import_module(module), name)(*arguments):\n"
        "    kernel.provide(kinds)"
    )
    request = json.dumps([sys.path, module, name, arguments])
    HELPERS.append(subprocess.Popen([sys.executable, "-c", code, request], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))


def wait():
    """Wait for the process that compiles, if there is one."""
    while HELPERS:
        s = time.perf_counter()
        HELPERS.pop().wait()
        print("waited", time.perf_counter() - s, file=sys.stderr)
