"""Vector code, written as LLVM is given it: its own vectoriser finds none of the forms that the hot loops need.

`llvm.fmuladd` is one instruction where the machine has it; `llvm.fma` would be a call of the C library where it
has not.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

from ..compiler.features import has_features

I64, I32 = ir.IntType(64), ir.IntType(32)
# Flags of an instruction whose operands must not be reordered. Numba gives those of the whole function, `reassoc` among
# them, to every instruction that has none.
IN_ORDER = ("contract", "nsz")
# Adding it to a float32 rounds that to a whole number n, and leaves n + 127, the exponent of 2**n, in the lowest bits.
ROUNDER = float(3 * 2**22 + 127)


def host_vectors(features=None):
    """(bytes in a vector, vectors of columns in a tile) of this machine, or of CPU features as LLVM writes them."""
    if has_features("+avx512f", features=features):
        return 64, 4  # 24 accumulators of 32 registers
    if has_features("+avx2", "+fma", features=features):
        return 32, 2  # 12 of 16
    if has_features("+neon", features=features):
        return 16, 4  # 24 of 32
    return 16, 2  # 12 of 16


VECTOR_BYTES, TILE_VECTORS = host_vectors()


def lanes_of(bits):
    """Numbers of so many bits in a vector."""
    return VECTOR_BYTES * 8 // bits


def constant(value):
    return ir.Constant(I64, value)


class Vectors:
    """Emits operations on vectors of `lanes` numbers of type `scalar`, each of `size` bytes."""

    def __init__(self, builder, scalar, size, lanes):
        self.builder, self.size, self.lanes = builder, size, lanes
        self.type, self.pointer = ir.VectorType(scalar, lanes), ir.VectorType(scalar, lanes).as_pointer()
        self.zero = ir.Constant(self.type, None)
        self._name = f"v{lanes}{'i' if isinstance(scalar, ir.IntType) else 'f'}{8 * size}"
        self.operand = self  # what `fma` multiplies

    def number(self, value):
        """A vector of the same constant."""
        return ir.Constant(self.type, [value] * self.lanes)

    def splat(self, value):
        """A vector of the same scalar."""
        return self._splat(value, self.type)

    def _splat(self, value, kind):
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            one, undefined, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        )

    def first(self, count):
        """A mask of the first `count` lanes."""
        kind = ir.VectorType(I32, self.lanes)
        count = self._splat(self.builder.trunc(count, I32), kind)
        return self.builder.icmp_signed("<", ir.Constant(kind, list(range(self.lanes))), count)

    def _call(self, name, result, *arguments, fastmath=()):
        kinds = [a.type for a in arguments]
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, kinds), name)
        return self.builder.call(function, arguments, fastmath=fastmath)

    def fma(self, a, b, c):
        return self._call(f"llvm.fmuladd.{self._name}", self.type, a, b, c)

    def sum(self, x):
        """The sum of all lanes, a scalar."""
        zero = ir.Constant(self.type.element, 0.0)
        return self._call(f"llvm.vector.reduce.fadd.{self._name}", zero.type, zero, x, fastmath=("reassoc",))

    def load(self, base, offset=0, mask=None):
        """The numbers at `base` + `offset`; with a mask, zero where it is not set."""
        address = self._address(base, offset)
        if mask is not None:
            align = ir.Constant(I32, self.size)
            return self._call(f"llvm.masked.load.{self._name}.p0", self.type, address, align, mask, self.zero)
        value = self.builder.load(address)
        value.align = self.size
        return value

    def store(self, value, base, offset=0, mask=None):
        address = self._address(base, offset)
        if mask is not None:
            align = ir.Constant(I32, self.size)
            self._call(f"llvm.masked.store.{self._name}.p0", ir.VoidType(), value, address, align, mask)
        else:
            self.builder.store(value, address).align = self.size

    def _address(self, base, offset):
        return self.builder.bitcast(self.builder.gep(base, [constant(offset)]), self.pointer)

    def clamp(self, x, low, high):
        """x between two constants; NaN stays NaN."""
        low, high = self.number(low), self.number(high)
        x = self.builder.select(self.builder.fcmp_ordered("<", x, low), low, x)
        return self.builder.select(self.builder.fcmp_ordered(">", x, high), high, x)

    def exp(self, x):
        """e**x of float32 lanes, relative error below 2e-7, in thirteen operations. NaN stays NaN.

        e^x = 2^n e^r with |r| <= ln(2)/2 and e^r a polynomial (minimax, fitted for this).
        """
        x = self.clamp(x, -86.0, 88.0)
        n, power = whole_and_power(self.builder, self.fma(x, self.number(1.44269504), self.number(ROUNDER)))
        r = self.fma(n, self.number(-0.693359375), x)
        r = self.fma(n, self.number(2.12194440e-4), r)
        p = self.number(0.008312520571053028)
        for coefficient in (0.04189015552401543, 0.16667114198207855, 0.499992311000824, 1.0, 1.0):
            p = self.fma(p, r, self.number(coefficient))
        return self.builder.fmul(p, power)

    def prefetch(self, base, offset):
        """Ask for the cache line at `base` + `offset` elements."""
        address = self.builder.bitcast(self.builder.gep(base, [offset]), ir.IntType(8).as_pointer())
        self._call("llvm.prefetch.p0", ir.VoidType(), address, *(ir.Constant(I32, k) for k in (0, 3, 1)))


class BFloat16Vectors(Vectors):
    """Vectors of float32 to which products of bfloat16 are added: of `operand`, of two in an int32 (bfloat16.py).

    A CPU without the instruction does it in float32, slowly: tests need that, models are not in bfloat16 there.
    """

    def __init__(self, builder, lanes):
        super().__init__(builder, ir.FloatType(), 4, lanes)
        self.operand = Vectors(builder, I32, 4, lanes)

    def fma(self, a, b, c):
        if not has_features("+avx512bf16", "+avx512vl"):
            for a_half, b_half in zip(self._halves(a), self._halves(b), strict=True):
                c = super().fma(a_half, b_half, c)
            return c
        kind = ir.VectorType(_BFloat16(), 2 * self.lanes) if llvm.llvm_version_info[0] > 15 else a.type
        a, b = (self.builder.bitcast(x, kind) for x in (a, b))
        return self._call(f"llvm.x86.avx512bf16.dpbf16ps.{32 * self.lanes}", self.type, c, a, b)

    def _halves(self, pair):
        """The first numbers and the second numbers of every pair, as float32."""
        low = self.builder.shl(pair, self.operand.number(16))
        high = self.builder.and_(pair, self.operand.number(0xFFFF0000))
        return (self.builder.bitcast(half, self.type) for half in (low, high))


class _BFloat16(ir.Type):
    """What llvmlite has no name for."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat16)

    def __hash__(self):
        return hash(_BFloat16)


def whole_and_power(builder, shifted):
    """n and 2**n, where `shifted` is n + ROUNDER: a float32, or a vector of them. 2**-127 is 0, 2**128 infinite."""
    kind = shifted.type
    count = kind.count if isinstance(kind, ir.VectorType) else None
    bits = I32 if count is None else ir.VectorType(I32, count)

    def number(kind, value):
        return ir.Constant(kind, value if count is None else [value] * count)

    n = builder.fsub(shifted, number(kind, ROUNDER), flags=IN_ORDER)
    power = builder.shl(builder.bitcast(shifted, bits), number(bits, 23))
    return n, builder.bitcast(power, kind)


def optimization_barrier(builder, value):
    """`value`, as something that LLVM cannot see through: a loop is then kept as it is written."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], True)
