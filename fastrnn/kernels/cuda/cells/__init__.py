"""The cells on the GPU. A new one is a file here and a name in the line below.

Each is the counterpart of a module of that name in `fastrnn.kernels.cells`; `rnn` is the shortest. One block of threads
takes `rows` sequences at most through a step; thread r * lanes + lane works on sequence r and on the units lane,
lane + lanes ... `u64` marks an index as one that is never negative (`block`).

===================  ==================================================================================================
NAME                 of the cell
forward(rows, p)     builds the step forward; p is `block.columns_product`
backward(rows, p)    builds the step back; p is `block.units_product`
PRODUCTS             the gradient of W: (name in States, first gate, gates) of each product with columns of da
DIAGONALS            that of each row of the cell's own parameters, if it can have any: the last part of the state
                     "prev" or "state" times da of the gate with the row's number, summed over tokens
===================  ==================================================================================================

What steps are given, of n sequences; all arrays are C-contiguous and of the model's dtype:

===========  ===============  =========================================================================================
array        shape            what
===========  ===============  =========================================================================================
W            (L, H, G*H)      previous state to gates
own          (L, rows, H)     the cell's own parameters, no rows where they are switched off; anything if it has none
tile         flat             shared memory, see `block`: forward finds h of the state before the step there
entering     tuple            of `block.columns_product`
prev         (L, N, S*H)      state before the step, in rows row ... row+n-1 of `layer`, as in the next three
gates        (L, N, G*H)      out (backward: in): after their nonlinearities
aux          (L, N, A*H)      out (backward: in)
state        (L, N, S*H)      out (backward: in): state after the step
carry        (K, B, S*H)      in: dL/dstate; out: dL/dprev; of sequences first ... first+n-1, in `slot`
da           (L or K, N, G*H) out: dL/d(pre-activations of the gates), in the rows of [which]
===========  ===============  =========================================================================================

layer, slot and which are such indices already; row and first are signed. A thread finds the errors of its own units in
`carry`, without synchronisation. After a step forward or back the block must synchronise before others' are read.
"""

from . import gru, lstm, rnn

CELLS = {cell.NAME: cell for cell in (rnn, lstm, gru)}
