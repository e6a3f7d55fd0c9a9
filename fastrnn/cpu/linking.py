"""Kernels that other kernels call: compiled to LLVM's language only, and optimised once, inside their callers.

Numba would make of every function a library of its own, optimise it, turn it into machine code and wrap it for
Python, and then link the optimised form into its callers and optimise it there again, level by level. Here a
function that a kernel calls stops before all that.
"""

from numba import _dynfunc, types
from numba.core import codegen, compiler, typed_passes
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.runtime.nrt import rtsys


class _Library(codegen.JITCodeLibrary):
    """The code of a function and of those that it calls, as it was lowered: only good for being linked.

    Without Numba's run-time library: the kernel that Python calls brings it.
    """

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            if library is not rtsys.library:
                self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(typed_passes.NativeLowering):
    """Lower a function into a `_Library`."""

    _name = "fastrnn_lowering"

    def run_pass(self, state):
        context = state.targetctx
        state.library = _Library(context.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        result = state["cr"]
        # What stands for the function among kernels. Nothing has its address: Python must not call it.
        name = _dynfunc.make_function(result.fndesc.lookup_module(), "inner", "", 0, result.env, (state.library,))
        context.insert_user_function(name, result.fndesc, [state.library])
        state["cr"] = result._replace(cfunc=name)
        return True


class _Compiler(compiler.CompilerBase):
    """Numba's compiler with our lowering."""

    def define_pipelines(self):
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        i = [p for p, _ in passes.passes].index(typed_passes.NativeLowering)
        passes.passes[i] = (_Lowering, "lower for linking")
        passes._finalized = False
        passes.finalize()
        return [passes]


# Options of a function that is only linked into others.
LINKED = {"pipeline_class": _Compiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class Kernel(CPUDispatcher):
    """What numba.njit makes of a function, but that kernels that call it have a version of it linked into them."""

    def __init__(self, function, options):
        options = {"nopython": True, "boundscheck": None, "no_cfunc_wrapper": True} | options
        super().__init__(function, targetoptions=options)
        linked = options | LINKED
        compiler_class = linked.pop("pipeline_class")
        self._linked = CPUDispatcher(function, targetoptions=linked, pipeline_class=compiler_class)

    @property
    def _numba_type_(self):
        return types.Dispatcher(self._linked)
