"""How sequences are packed: a row for every token."""

import numpy as np
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.kernels.cpu.layers.recurrence import pack, token_count
from fastrnn.kernels.cpu.workspace import Rows


class TestPacking:
    @examples(60, plain=30)
    @given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), size=st.integers(1, 5), data=st.data())
    def test_every_token_has_one_row(self, lengths, size, data):
        rng = np.random.default_rng(0)
        count = sum(lengths)
        x, y = rng.permutation(1000)[:count].astype(np.int32), rng.permutation(1000)[:count].astype(np.int32)
        length = np.array(lengths, np.int64)
        begin = np.cumsum(length) - length
        chosen = data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True))
        ids = np.array(sorted(chosen, key=lambda s: -lengths[s]), np.int64)
        rows = Rows(
            np.full(count, -1, np.int64), np.full(count, -1, np.int32), np.full(count, -1, np.int32),
            np.full((size, max(lengths) + 1), -1, np.int64),
        )  # fmt: skip
        total = token_count(length, ids)
        assert total == length[ids].sum()
        seen = np.zeros(count, int)
        for thread in range(size):
            steps = pack(thread, size, x, y, begin, length, ids, rows)
            group, starts = ids[thread::size], rows.starts[thread]
            assert steps == (length[group].max() if len(group) else 0)
            for t in range(steps):
                active = [s for s in group if lengths[s] > t]
                assert starts[t + 1] - starts[t] == len(active)
                for b, s in enumerate(active):
                    row = starts[t] + b
                    seen[row] += 1
                    assert rows.origin[row] == begin[s] + t
                    assert rows.tokens[row] == x[begin[s] + t] and rows.targets[row] == y[begin[s] + t]
        assert seen.tolist() == [1] * total + [0] * (count - total)
