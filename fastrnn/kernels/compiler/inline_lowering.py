"""Kernels that other kernels call: compiled to LLVM's language only, and optimised once, inside their callers.

Numba would make of every function a library of its own, optimise it, turn it into machine code and wrap it for
Python, and then link the optimised form into its callers and optimise it there again, level by level. Here a
function that a kernel calls stops before all that.
"""

import gc
import itertools

from llvmlite import ir
from numba import _dynfunc, types
from numba.core import cgutils, codegen, compiler, lowering, typed_passes, untyped_passes
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.runtime.nrt import rtsys

from .indirect_calls import IndirectKernel, LoweringCaller
from .views import field, view


class _InlineLibrary(codegen.JITCodeLibrary):
    """The code of a function and of those that it calls, as it was lowered: IR to be linked into callers.

    Without Numba's run-time library: the kernel that Python calls brings it.
    """

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            if library is not rtsys.library:
                self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class _Lower(lowering.Lower):
    """Numba's lowering, with fewer instructions for what kernels consist of: elements and slices of arrays.

    Indices are never negative, arrays are contiguous, and nothing is counted: the kernel that Python calls holds
    references to all memory. Numba would count from the end, copy an array's description for each access, and clear
    it after its last.
    """

    def lower_getitem(self, resty, expr, value, index, signature):
        kind, indices = self.typeof(value.name), self._indices(value, index)
        if indices is None or getattr(resty, "layout", "C") != "C":
            return super().lower_getitem(resty, expr, value, index, signature)
        pointer, shape = self._element(value, indices)
        if isinstance(resty, types.Array):
            return view(self.context, self.builder, resty, pointer, shape)
        item = self.context.unpack_value(self.builder, kind.dtype, pointer)
        return self.context.cast(self.builder, item, kind.dtype, resty)

    def lower_setitem(self, target, index, value, signature):
        kind, indices = self.typeof(target.name), self._indices(target, index)
        if indices is None or len(indices) < kind.ndim or any(len(values) > 1 for values in indices):
            return super().lower_setitem(target, index, value, signature)
        item = self.context.cast(self.builder, self.loadvar(value.name), self.typeof(value.name), kind.dtype)
        self.context.pack_value(self.builder, kind.dtype, item, self._element(target, indices)[0])

    def lower_function_body(self):
        if getattr(self.func_ir.func_id.func, "cold", False):
            self.function.attributes.add("optsize")
        return super().lower_function_body()

    def delvar(self, name):
        """Nothing is counted, so nothing is to be forgotten."""

    def _indices(self, array, index):
        """The values of integers, (first, end) of slices; None for what is left to Numba."""
        kind, index_type = self.typeof(array.name), self.typeof(index.name)
        kinds = list(index_type) if isinstance(index_type, types.BaseTuple) else [index_type]
        if not isinstance(kind, types.Array) or kind.layout != "C" or not kind.aligned:
            return None
        if not all(k == types.slice2_type or isinstance(k, types.Integer) for k in kinds):
            return None
        values = self.loadvar(index.name)
        values = cgutils.unpack_tuple(self.builder, values) if isinstance(index_type, types.BaseTuple) else [values]
        return [
            tuple(self.builder.extract_value(value, i) for i in range(2)) if k == types.slice2_type
            else (self.context.cast(self.builder, value, k, types.intp),)
            for k, value in zip(kinds, values, strict=True)
        ]  # fmt: skip

    def _element(self, array, indices):
        """Pointer to the first element that the indices name, and the shape of all that they do."""
        builder, value = self.builder, self.loadvar(array.name)
        kind = self.typeof(array.name)
        lengths = cgutils.unpack_tuple(builder, field(self.context, builder, kind, value, "shape"))
        offset, shape = None, []
        for length, index in itertools.zip_longest(lengths, indices):
            first = index[0] if index else None
            if offset is not None:
                offset = builder.mul(offset, length)
                first = builder.add(offset, first) if index else offset
            offset = first
            if index is None:
                shape.append(length)
            elif len(index) == 2:
                end = builder.select(builder.icmp_signed("<", index[1], length), index[1], length)
                count = builder.sub(end, index[0])
                none = count.type(0)
                shape.append(builder.select(builder.icmp_signed(">", count, none), count, none))
        if shape:  # rows and slices: hidden, or LLVM would try in vain, for seconds, to simplify all addresses in them
            offset = builder.asm(ir.FunctionType(offset.type, [offset.type]), "", "=r,0", [offset], False)
        return builder.gep(field(self.context, builder, kind, value, "data"), [offset]), shape


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(typed_passes.NativeLowering):
    """Lower a function into a `_InlineLibrary`."""

    _name = "fastrnn_lowering"

    @property
    def lowering_class(self):
        return _Lower

    def run_pass(self, state):
        context = state.targetctx
        state.library = _InlineLibrary(context.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        result = state["cr"]
        # What stands for the function among kernels. Nothing has its address: Python must not call it.
        name = _dynfunc.make_function(result.fndesc.lookup_module(), "inner", "", 0, result.env, (state.library,))
        context.insert_user_function(name, result.fndesc, [state.library])
        state["cr"] = result._replace(cfunc=name)
        return True


class _Flags(compiler.Flags):
    """Numba's flags, compared by what was set.

    Numba's own ``__eq__`` and ``__hash__`` walk all options, and are called thousands of times per kernel.
    """

    def __hash__(self):
        return hash(frozenset(self._values))

    def __eq__(self, other):
        return isinstance(other, compiler.Flags) and self._values == other._values


# Numba's passes over closures and array expressions, which no kernel contains.
UNUSED = (untyped_passes.InlineClosureLikes, typed_passes.NopythonRewrites)


class _Compiler(compiler.CompilerBase):
    """Numba's compiler with our lowering."""

    lowering = _Lowering

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.state.flags = _Flags(self.state.flags)

    def define_pipelines(self):
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (self.lowering if p is typed_passes.NativeLowering else p, what)
            for p, what in passes.passes
            if p not in UNUSED
        ]
        passes._finalized = False
        passes.finalize()
        return [passes]


class _MachineCompiler(_Compiler):
    """The same for what becomes machine code: kernels that Python calls, or that are called through a pointer."""

    lowering = LoweringCaller


COMMON = {"nopython": True, "boundscheck": None}
# Options of a function of which only the IR is kept, to be linked into its callers.
IR_ONLY = {"pipeline_class": _Compiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class Kernel(CPUDispatcher):
    """As numba.njit, but kernels that call it get its unoptimised IR linked into theirs."""

    def __init__(self, function, options):
        options = COMMON | {"no_cfunc_wrapper": True} | options
        super().__init__(function, targetoptions=options, pipeline_class=_MachineCompiler)
        ir_only = options | IR_ONLY
        compiler_class = ir_only.pop("pipeline_class")
        self._ir_only = CPUDispatcher(function, targetoptions=ir_only, pipeline_class=compiler_class)

    def compile(self, signature):
        """Compile or load; without Python's search for unreachable objects, which would take a tenth of the time."""
        enabled = gc.isenabled()
        gc.disable()
        try:
            return super().compile(signature)
        finally:
            if enabled:
                gc.enable()

    @property
    def _numba_type_(self):
        return types.Dispatcher(self._ir_only)


def indirect_kernel(function, result, options):
    """A kernel that is called through a pointer; `result` is Numba's type of what it returns."""
    return IndirectKernel(function, result, COMMON | options, _MachineCompiler)
