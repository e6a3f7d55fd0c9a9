"""Kernels called through a pointer.

A caller loads the address from a global symbol, so it can be compiled and cached before the callee exists, and the
callee is compiled once for all callers, in any process. Other kernels are inlined into their callers
(`inline_lowering.py`). A call costs a load, and nothing is inlined: this is for kernels that are called once per batch
or do as much as a matrix product.
"""

import ctypes
import functools
import hashlib
import importlib
import subprocess

import llvmlite.binding as llvm
from llvmlite import ir
from numba import typeof, types
from numba.core import typed_passes
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import lower_builtin

SYMBOL_PREFIX = "fastrnn:"
COMPILE_TIMEOUT = 60  # seconds, for a process that compiles: far more than it takes


class IndirectKernel(CPUDispatcher):
    """A kernel that other kernels, and only these, call through a pointer.

    Parameters
    ----------
    function : callable
        Of a module where its name will be that of this object.
    result : numba type
        What it returns: callers are compiled without a look into it.
    options : dict
        Numba's.
    pipeline_class : class
        Numba's compiler, with `LoweringCaller`.
    """

    def __init__(self, function, result, options, pipeline_class):
        options = options | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, targetoptions=options, pipeline_class=pipeline_class)
        self.result, self.specializations = result, {}
        self._numba_type = types.Function(type("Call", (_Call,), {"key": self}))
        lower_builtin(self, types.VarArg(types.Any))(self._emit_call)

    def __call__(self, *args):
        raise TypeError(f"{self.__name__} is called by other kernels only")

    @property
    def _numba_type_(self):
        return self._numba_type

    def specialization(self, kinds):
        """The `Specialization` for arguments of these types."""
        digest = hashlib.sha256(repr(kinds).encode()).hexdigest()[:16]
        symbol = f"{SYMBOL_PREFIX}{self.__module__}:{self.__name__}:{digest}"
        if symbol not in self.specializations:
            self.specializations[symbol] = Specialization(self, kinds, symbol)
        return self.specializations[symbol]

    def specialization_for(self, values):
        """The `Specialization` for arguments like `values`."""
        return self.specialization(tuple(map(typeof, values)))

    def _emit_call(self, context, builder, signature, args):
        specialization, convention = self.specialization(signature.args), context.call_conv
        if specialization.compile_process is None:
            specialization.ensure_compiled()
        try:
            slot = builder.module.get_global(specialization.symbol)
        except KeyError:
            kind = convention.get_function_type(signature.return_type, signature.args)
            slot = ir.GlobalVariable(builder.module, kind.as_pointer(), specialization.symbol)
        function = builder.load(slot)
        return convention.call_function(builder, function, signature.return_type, signature.args, args)[1]


class Specialization:
    """An `IndirectKernel` compiled for given types of arguments; callers load its address from the symbol's slot.

    Attributes
    ----------
    maker : subprocess.Popen or None
        The process that was started to compile it into the cache, if any.
    """

    def __init__(self, kernel, kinds, symbol):
        self.kernel, self.kinds, self.symbol = kernel, kinds, symbol
        self._slot, self.compile_process = ctypes.c_void_p(), None
        llvm.add_symbol(symbol, ctypes.addressof(self._slot))

    def load(self):
        """Load it if the cache on disk has it; returns whether it is there."""
        with global_compiler_lock:
            if not self._slot.value:
                self._point_to(self.kernel._cache.load_overload(self.kinds, self.kernel.targetctx))
        return bool(self._slot.value)

    def ensure_compiled(self):
        """Fill the slot with its address: load it, or compile it."""
        if self._slot.value:
            return
        if self.compile_process is not None:
            try:
                self.compile_process.wait(COMPILE_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.compile_process.kill()
        if not self.load():  # no process was to compile it, or it has failed
            self.kernel.compile(self.kinds)
            self._point_to(self.kernel.overloads[self.kinds])

    def _point_to(self, compiled):
        if compiled is not None:
            self._compiled = compiled  # the machine code lives as long
            self._slot.value = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


class _Call(AbstractTemplate):
    """Typing of a call of an `IndirectKernel`, its `key`."""

    def generic(self, args, kws):
        return signature(self.key.result, *map(types.unliteral, args))


def ensure_compiled(module, name, kinds):
    """Compile or load the specialization for `kinds` of the kernel of that name."""
    getattr(importlib.import_module(module), name).specialization(kinds).ensure_compiled()


@register_pass(mutates_CFG=True, analysis_only=False)
class LoweringCaller(typed_passes.NativeLowering):
    """Compile a function to machine code, and provide what it calls: at once, and in future before it is loaded."""

    _name = "fastrnn_lowering_caller"

    def run_pass(self, state):
        changed = super().run_pass(state)
        symbols = [variable.name for variable in state.library._final_module.global_variables]
        for symbol in symbols:
            if symbol.startswith(SYMBOL_PREFIX):
                _, module, name, _ = symbol.split(":")
                specialization = getattr(importlib.import_module(module), name).specializations[symbol]
                specialization.ensure_compiled()
                state.reload_init.append(functools.partial(ensure_compiled, module, name, specialization.kinds))
        return changed
