"""PyTorch's stacked nn.LSTM over parallel streams, as in its example word_language_model."""

from .torch_model import GATE_ORDER, torch
from .translation import FUSED


class TorchStreams:
    """The model, and what trains it.

    Parameters
    ----------
    size : int
        Words or characters, C.
    hidden_dim, num_layers, chunk_len : int
    embedding_dim : int or None
        None feeds the first layer one-hot vectors.
    tie_weights : bool
        Whether the output's matrix is the embedding.
    dropout : float
        On the embedded words, between layers and before the output.
    optimizer : {"sgd", "adam"}
    learning_rate, clip_norm : float
        The loss is summed over a chunk's tokens and averaged over its streams.
    seed : int
    """

    def __init__(
        self,
        size,
        *,
        hidden_dim,
        num_layers,
        embedding_dim,
        tie_weights,
        dropout,
        chunk_len,
        optimizer,
        learning_rate,
        clip_norm,
        seed,
    ):
        nn = torch.nn
        torch.manual_seed(seed)
        self.H, self.chunk_len, self.clip, self.tied = hidden_dim, chunk_len, clip_norm, tie_weights
        self.embedding = nn.Embedding(size, embedding_dim or size)
        if embedding_dim is None:
            self.embedding.weight = nn.Parameter(torch.eye(size), requires_grad=False)
        self.layer = nn.LSTM(embedding_dim or size, hidden_dim, num_layers, dropout=dropout if num_layers > 1 else 0.0)
        self.output = nn.Linear(hidden_dim, size)
        if tie_weights:
            self.output.weight = self.embedding.weight
        self.below = nn.Dropout(0.0 if embedding_dim is None else dropout)
        self.above = nn.Dropout(dropout)
        self.modules = nn.ModuleList([self.below, self.embedding, self.layer, self.above, self.output])
        self.parameters = [parameter for parameter in self.modules.parameters() if parameter.requires_grad]
        self.optimizer = FUSED[optimizer](self.parameters, lr=learning_rate, fused=True)

    def take(self, params):
        """Take over our weights; our LSTM's peepholes must be zero."""
        H, layer = self.H, self.layer
        order = torch.cat([torch.arange(gate * H, (gate + 1) * H) for gate in GATE_ORDER["lstm"]])
        ours = {name: torch.tensor(array) for name, array in params.items()}
        with torch.no_grad():
            for i in range(layer.num_layers):
                getattr(layer, f"weight_ih_l{i}")[:] = ours[f"layer{i}.U"][order]
                getattr(layer, f"weight_hh_l{i}")[:] = ours[f"layer{i}.W"][order]
                getattr(layer, f"bias_ih_l{i}")[:] = ours[f"layer{i}.b"][order]
                getattr(layer, f"bias_hh_l{i}").zero_()
            if "embedding" in ours:
                self.embedding.weight[:] = ours["embedding"]
            if not self.tied:
                self.output.weight[:] = ours["V"]
            self.output.bias[:] = ours["c"]

    def chunks(self, x, y):
        """Pieces (chunk_len, B) of tensors (T, B)."""
        return zip(x.split(self.chunk_len), y.split(self.chunk_len), strict=True)

    def loss(self, inputs, targets, state):
        """The summed cross-entropy of a chunk, and the state after it."""
        h, state = self.layer(self.below(self.embedding(inputs)), state)
        logits = self.output(self.above(h).flatten(0, 1))
        return torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum"), state

    def epoch(self, x, y):
        """Train on streams (T, B), an update a chunk; the state is carried on, the gradient is not."""
        self.modules.train()
        state = None
        for inputs, targets in self.chunks(x, y):
            self.optimizer.zero_grad(set_to_none=True)
            loss, state = self.loss(inputs, targets, state)
            (loss / inputs.shape[1]).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
            self.optimizer.step()
            state = tuple(part.detach() for part in state)

    def score(self, x, y):
        """Mean cross-entropy a token of streams (T, B)."""
        self.modules.eval()
        state, total = None, 0.0
        with torch.inference_mode():
            for inputs, targets in self.chunks(x, y):
                loss, state = self.loss(inputs, targets, state)
                total += loss.item()
        return total / y.numel()
