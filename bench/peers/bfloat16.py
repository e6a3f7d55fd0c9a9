"""PyTorch's models in bfloat16, in the fastest way that learns nearly as float32 does: autocast of the forward pass.

Parameters, their gradients and the optimiser stay in float32; autocast converts the parameters anew in every batch, and
products and nn.LSTM run by oneDNN in bfloat16. cross_entropy stands outside, or autocast would convert all logits to
float32 and lose half of the gain or all of it (scoring).

Also tried, on a CPU with AVX512_BF16 and without AMX, torch 2.13:

set_float32_matmul_precision("medium"), torch.backends.mkldnn.matmul and .rnn.fp32_precision = "bf16"
    no faster: oneDNN may round but has kernels of float32 only, and the losses are the same to the last digit
cross_entropy under autocast
    never faster beyond the noise; slower where there are many words and more than one sentence
parameters and moments of Adam in bfloat16 too
    up to a quarter faster, but learns worse: translation's validation loss is 1.79 after 3 epochs, under autocast 1.64,
    in float32 1.60
modules in bfloat16 with a copy in float32 that is trained, by hand
    as fast as autocast
output layer by 128 tokens, as in `peers_tuned`
    slower under autocast, which forgets its converted parameters
"""

import functools

from .torch_model import TorchModel, torch
from .translation import TorchSeq2Seq

WHAT = """
**In bfloat16**, where the CPU has an instruction for it: the products round what they multiply to 8 bits, but not the
parameters and what the optimiser keeps. Ours is `matmul_precision="bfloat16"`; PyTorch's is its fastest mode that
learns nearly as float32 does, autocast around the forward pass (`bench/peers/bfloat16.py` says what else was tried).
""".strip()


def autocast(method):
    """The method with its products in bfloat16."""

    @functools.wraps(method)
    def in_bfloat16(*args, **kwargs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return method(*args, **kwargs)

    return in_bfloat16


class BFloat16Model(TorchModel):
    """`TorchModel` in bfloat16."""

    hidden = autocast(TorchModel.hidden)
    logits = autocast(TorchModel.logits)


class BFloat16Seq2Seq(TorchSeq2Seq):
    """`TorchSeq2Seq` in bfloat16, in training and search; scored with logits of float32."""

    predict = autocast(TorchSeq2Seq.predict)

    @autocast
    def logits(self, *batch):
        logits = super().logits(*batch)
        return logits if self.modules.training else logits.float()
