"""The recurrent network of the WildML tutorial in plain NumPy, written from its equations.

    s_t = tanh(U x_t + W s_{t-1})        o_t = softmax(V s_t)        L = -sum_t ln o_t[y_t]

x_t is one-hot, so U x_t is a column of U. The error of output t goes back through steps t ... t-k. Run alone,
``python bench/peers/tutorial_numpy.py`` times one step of its stochastic gradient descent.
"""

import time

import numpy as np


class TutorialRNN:
    """U (H, C), V (C, H), W (H, H), without biases, trained on one sentence at a time."""

    def __init__(self, vocab_size=8000, hidden_dim=100, bptt_truncate=4, random_state=0):
        rng = np.random.default_rng(random_state)
        C, H = vocab_size, hidden_dim
        self.bptt_truncate = bptt_truncate
        self.U = rng.uniform(-(C**-0.5), C**-0.5, (H, C))
        self.V = rng.uniform(-(H**-0.5), H**-0.5, (C, H))
        self.W = rng.uniform(-(H**-0.5), H**-0.5, (H, H))

    def forward(self, x):
        """Probabilities o (T, C) and states s (T + 1, H) of a sentence x (T,); s[-1], the last row, is s before it."""
        s = np.zeros((len(x) + 1, len(self.W)))
        for t, word in enumerate(x):
            s[t] = np.tanh(self.U[:, word] + self.W @ s[t - 1])
        z = s[:-1] @ self.V.T
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True), s

    def loss(self, x, y):
        """Cross-entropy of a sentence, summed over its words, nats."""
        o, _ = self.forward(x)
        return -np.log(o[np.arange(len(y)), y]).sum()

    def bptt(self, x, y):
        """Loss and its gradients dU, dV, dW."""
        o, s = self.forward(x)
        words = np.arange(len(y))
        loss = -np.log(o[words, y]).sum()
        o[words, y] -= 1  # dL/dz of the softmax
        dV = o.T @ s[:-1]
        dU, dW = np.zeros_like(self.U), np.zeros_like(self.W)
        for t in words:
            delta = (self.V.T @ o[t]) * (1 - s[t] ** 2)
            for step in range(t, max(-1, t - self.bptt_truncate - 1), -1):
                dW += np.outer(delta, s[step - 1])
                dU[:, x[step]] += delta
                delta = (self.W.T @ delta) * (1 - s[step - 1] ** 2)
        return loss, dU, dV, dW

    def sgd_step(self, x, y, learning_rate):
        """Learn from one sentence; returns its loss before."""
        loss, dU, dV, dW = self.bptt(x, y)
        self.U -= learning_rate * dU
        self.V -= learning_rate * dV
        self.W -= learning_rate * dW
        return loss


def main():
    model, sentence = TutorialRNN(), np.random.default_rng(1).integers(0, 8000, 21)
    x, y = sentence[:-1], sentence[1:]
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        model.sgd_step(x, y, 0.005)
        seconds.append(time.perf_counter() - start)
    print(f"one step on a sentence of {len(x)} words, C = 8000, H = 100: {1000 * np.median(seconds):.0f} ms")


if __name__ == "__main__":
    main()
