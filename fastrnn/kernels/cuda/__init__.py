"""Kernels for an NVIDIA GPU, in Numba CUDA: the same names as in `fastrnn.cpu`, what differs is the device.

The host launches kernels and waits once a call: parameters, moments, gradients and the corpus stay on the device.

==================  ===================================================================================================
`driver`            the one file that imports numba.cuda; launching, memory, what is wrong with a machine
`workspace`         what kernels are given: arrays on the device, as named tuples with the names of `cpu.workspace`
`mirror`            arrays that the host and the device both have
`layout`            from batches of sequences to the rows that kernels go over
`instructions`      tensor cores' instructions
`tensor`            what warps do with them for a product
`product`           tiled products, with a bias, sums over tokens, on tensor cores if asked
`mathfun`           the logistic function, slopes
`dropout`           masks: the hashes of `cpu.dropout`
`block`             what one block of threads does together: products with W of a few sequences
`cells`             one module a cell: its step forward and back by one block of threads, the gradients of its weights
`recurrence`        time loops: one block takes a few sequences through all steps of a layer
`stack`             the layers, one after the other, and dropout between them
`output`            softmax layer over blocks of tokens
`update`            gradients of U by words, norms, optimisers
`passes`            training, scoring and predicting over batches
`rows`              what a block finds out about a row of logits
`choice`            which token a stream draws
`decode`            streams of tokens, and drawing from them
`candidates`        the best words of every row, for a search
`beam`              beam search
`network`           networks whose arrays live on the device
==================  ===================================================================================================
"""
