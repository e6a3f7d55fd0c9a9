"""Time loops of one layer, the stack of layers, dropout, the softmax output layer."""
