"""Kernels for an NVIDIA GPU, in Numba CUDA: the same names as in `fastrnn.kernels.cpu`, what differs is the device.

The host launches kernels and waits once a call: parameters, moments, gradients and the corpus stay on the device.

======================  ===============================================================================================
`driver`                the one file that imports numba.cuda; launching, memory, what is wrong with a machine
`workspace`             what kernels are given: arrays on the device, as named tuples with the names of `cpu.workspace`
`layout`                from batches of sequences to the rows that kernels go over
`block`                 what one block of threads does together: products with W of a few sequences
`optimizers`            gradients of U by words, norms, update rules
`passes`                training, scoring and predicting over batches
`linalg.ptx`            tensor cores' instructions
`linalg.tensor_cores`   what warps do with them for a product
`linalg.gemm`           tiled products, with a bias, sums over tokens, on tensor cores if asked
`linalg.elementwise`    the logistic function, slopes
`cells`                 one module per cell: its step forward and back by one block, the gradients of its weights
`layers.dropout`        masks: the hashes of the CPU's dropout
`layers.recurrence`     time loops: one block takes a few sequences through all steps of a layer
`layers.stack`          the layers, one after the other, and dropout between them
`layers.softmax`        softmax layer over blocks of tokens
`layers.reductions`     what a block finds out about a row of logits
`decoding.sampling`     which token a stream draws
`decoding.step`         streams of tokens, and drawing from them
`decoding.top_k`        the best words of every row, for a search
`decoding.beam`         beam search
======================  ===============================================================================================
"""
