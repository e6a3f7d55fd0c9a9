"""Time loops, the stack of layers, dropout, the softmax output layer on a GPU."""
