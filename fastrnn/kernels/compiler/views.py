"""Views of contiguous arrays, made in kernels without counting references: the caller in Python holds the memory."""

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def field(context, builder, kind, value, name):
    """A field of an array's description, by its name: "data", "shape", "nitems", ..."""
    return builder.extract_value(value, context.data_model_manager[kind].get_field_position(name))


def view(context, builder, kind, data, shape):
    """The description of a contiguous array of type `kind`, at `data`, of a list of lengths."""
    model = context.data_model_manager[kind]
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [size]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    count = shape[0]
    for length in shape[1:]:
        count = builder.mul(count, length)
    fields = {
        "nitems": count, "itemsize": size, "data": data, "shape": cgutils.pack_array(builder, shape),
        "strides": cgutils.pack_array(builder, strides),
    }  # fmt: skip
    value = context.get_constant_null(kind)  # so that no object owns it
    for name, part in fields.items():
        value = builder.insert_value(value, part, model.get_field_position(name))
    return value


def ravel(array):
    """The elements of a contiguous array, in one dimension."""
    return array.reshape(-1)


@intrinsic
def _ravel(typingctx, array):
    def codegen(context, builder, signature, args):
        kind = signature.args[0]
        count, data = (field(context, builder, kind, args[0], name) for name in ("nitems", "data"))
        return view(context, builder, signature.return_type, data, [count])

    return array.copy(ndim=1)(array), codegen


if not numba.config.DISABLE_JIT:
    ravel = _ravel
