"""PyTorch's encoder-decoder as people write it: two Embeddings, two nn.LSTM, a Linear; no attention.

What is done to make it fast: a batch holds sources of one length where it can, so that the encoder needs no packing
(packed where it cannot); the decoder runs padded and only real tokens reach the output layer; the search keeps
unfinished sentences only, and takes the best K words of each row before it takes the best K of K x K.
"""

import itertools

import numpy as np

from fastrnn.data.ragged import minibatches

from .torch_model import torch

START, END = 0, 1  # as Vocabulary numbers them
SEARCHED = 128  # sentences that are searched at once
FUSED = {} if torch is None else {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


class TorchSeq2Seq:
    """The model, and what trains it.

    Parameters
    ----------
    source_size, target_size : int
        Words of both vocabularies.
    embedding_dim, hidden_dim, num_layers : int
    reverse_source : bool
    init_scale : float
        Everything starts uniform in ±init_scale, but for the second biases, which ours does not have: zero.
    dropout : float
        Between layers, on the embedded words and before the output.
    optimizer : {"sgd", "adam"}
    learning_rate, clip_norm : float
    batch_size : int
    seed : int
    """

    def __init__(
        self,
        source_size,
        target_size,
        *,
        embedding_dim,
        hidden_dim,
        num_layers,
        reverse_source,
        init_scale,
        dropout,
        optimizer,
        learning_rate,
        clip_norm,
        batch_size,
        seed,
    ):
        nn = torch.nn
        torch.manual_seed(seed)
        self.reverse, self.clip, self.batch_size = reverse_source, clip_norm, batch_size
        self.rng, self.dropout = np.random.default_rng(seed), nn.Dropout(dropout)
        self.embeddings = nn.ModuleList([nn.Embedding(size, embedding_dim) for size in (source_size, target_size)])
        inner = dropout if num_layers > 1 else 0.0
        self.layers = nn.ModuleList([nn.LSTM(embedding_dim, hidden_dim, num_layers, dropout=inner) for _ in range(2)])
        self.output = nn.Linear(hidden_dim, target_size)
        self.modules = nn.ModuleList([self.dropout, self.embeddings, self.layers, self.output])
        for name, parameter in self.modules.named_parameters():
            nn.init.zeros_(parameter) if "bias_hh" in name else nn.init.uniform_(parameter, -init_scale, init_scale)
        self.optimizer = FUSED[optimizer](self.modules.parameters(), lr=learning_rate, fused=True)

    # ---- Training

    def batches(self, source, target, rng=None):
        """The batches of two Ragged as tensors: one length of source, then of target, as far as it goes."""
        order, bounds = minibatches(source.lengths * 1000 + target.lengths, self.batch_size, rng)
        return [
            self._batch(source[order[first:last]], target[order[first:last]])
            for first, last in itertools.pairwise(bounds)
        ]

    def _batch(self, source, target):
        """Words (S, B), their lengths or None where they are alike; inputs (T, B), targets (N,), real (T, B)."""
        shifted = padded([[START, *words] for words in target.to_list()])
        wanted = padded([[*words, END] for words in target.to_list()])
        real = np.arange(len(shifted))[:, None] <= target.lengths
        return *self.sources(source), *map(torch.from_numpy, (shifted, wanted[real], real))

    def sources(self, source):
        """Words (S, B), the reading reversed, and lengths or None."""
        lengths = source.lengths
        words = padded([words[::-1] if self.reverse else words for words in source.to_list()])
        return torch.from_numpy(words), None if lengths.min() == lengths.max() else torch.from_numpy(lengths)

    def encode(self, words, lengths):
        """The state after the source, (h, c) of shape (layers, B, H)."""
        embedded = self.dropout(self.embeddings[0](words))
        if lengths is not None:
            embedded = torch.nn.utils.rnn.pack_padded_sequence(embedded, lengths, enforce_sorted=False)
        return self.layers[0](embedded)[1]

    def logits(self, words, lengths, shifted, real):
        """(N, C) of the target's tokens."""
        h, _ = self.layers[1](self.dropout(self.embeddings[1](shifted)), self.encode(words, lengths))
        return self.output(self.dropout(h[real]))

    def loss(self, words, lengths, shifted, wanted, real):
        """Cross-entropy summed over the target's tokens."""
        logits = self.logits(words, lengths, shifted, real)
        return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")

    def epoch(self, batches):
        """Train on all batches; returns the summed cross-entropy."""
        self.modules.train()
        parameters, total = list(self.modules.parameters()), 0.0
        for batch in batches:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(*batch)
            (loss / batch[0].shape[1]).backward()
            torch.nn.utils.clip_grad_norm_(parameters, self.clip)
            self.optimizer.step()
            total += loss.item()
        return total

    def score(self, batches):
        """Mean cross-entropy a target token."""
        self.modules.eval()
        with torch.inference_mode():
            total = sum(self.loss(*batch).item() for batch in batches)
        return total / sum(len(batch[3]) for batch in batches)

    # ---- Search

    def predict(self, source, beam_width=1, max_length=50):
        """The most probable target found for each source, a list of lists without END."""
        self.modules.eval()
        found, order = [None] * len(source), np.argsort(-source.lengths, kind="stable")
        search = self._beam if beam_width > 1 else self._greedy
        with torch.inference_mode():
            for ids in np.split(order, range(SEARCHED, len(order), SEARCHED)):
                state = self.encode(*self.sources(source[ids]))
                for i, words in zip(ids, search(state, beam_width, max_length), strict=True):
                    found[i] = words
        return found

    def _step(self, tokens, state):
        """Logits (rows, C) after one more token, and the state."""
        h, state = self.layers[1](self.embeddings[1](tokens)[None], state)
        return self.output(h[0]), state

    def _greedy(self, state, _, max_length):
        B = state[0].shape[1]
        words, alive, tokens = [[] for _ in range(B)], torch.arange(B), torch.full((B,), START)
        for _ in range(max_length):
            logits, state = self._step(tokens, state)
            tokens = logits.argmax(1)
            on = tokens != END
            tokens, alive, state = tokens[on], alive[on], tuple(part[:, on] for part in state)
            if not len(alive):
                break
            for i, token in zip(alive.tolist(), tokens.tolist(), strict=True):
                words[i].append(token)
        return words

    def _beam(self, state, K, max_length):
        """Beams of K; a hypothesis that ends leaves the beam, and a sentence is done when none left can win."""
        B = state[0].shape[1]
        best, chosen = torch.full((B,), -torch.inf), [[] for _ in range(B)]
        alive, scores = torch.arange(B), torch.zeros(B, 1)
        tokens, history = torch.full((B,), START), torch.empty(B, 1, 0, dtype=torch.long)
        for step in range(max_length):
            logits, state = self._step(tokens, state)
            values, words = logits.topk(K, 1)
            values = values - logits.logsumexp(1, keepdim=True)
            n, width = scores.shape
            scores, places = (scores[:, :, None] + values.view(n, width, K)).flatten(1).topk(K, 1)
            words, parents = words.view(n, -1).gather(1, places), places // K
            history = torch.cat([history.gather(1, parents[:, :, None].expand(-1, -1, step)), words[:, :, None]], 2)
            ends = words == END
            ended, which = scores.where(ends, -torch.inf).max(1)
            scores = scores.where(~ends, -torch.inf)
            if step == max_length - 1:  # what is cut off counts as it stands
                ended, which = torch.where(ended == -torch.inf, scores[:, 0], ended), which
            better = (ended > best[alive]).nonzero()[:, 0]
            best[alive[better]] = ended[better]
            for row in better.tolist():
                chosen[alive[row]] = [word for word in history[row, which[row]].tolist() if word != END]
            on = scores.max(1).values > best[alive]
            if not on.any():
                break
            rows = (parents + width * torch.arange(n)[:, None])[on].flatten()
            alive, scores, history, tokens = alive[on], scores[on], history[on], words[on].flatten()
            state = tuple(part[:, rows] for part in state)
        return chosen


def padded(sequences):
    """Lists of int as columns of one array (T, B), zeros below."""
    out = np.zeros((max(map(len, sequences)), len(sequences)), np.int64)
    for column, words in enumerate(sequences):
        out[: len(words), column] = words
    return out
