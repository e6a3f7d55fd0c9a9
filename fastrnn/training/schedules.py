"""How the learning rate goes on. What a schedule remembers is in the history alone, so that it outlives a process."""

import math

SCHEDULES = ("constant", "halve", "plateau", "half-epochs")


def on_batch_start(settings, optimizer, history, batch, batches, training_loss):
    """What is due before batch number `batch` of `batches`: called once where `next_boundary` says so.

    Parameters
    ----------
    settings : Settings
        With lr_schedule, evaluate_every, lr_decay_start.
    optimizer : Optimizer
    history : History
    batch, batches : int
    training_loss : callable
        Returns the loss on all training data.
    """
    epochs = len(history.losses)
    if settings.lr_schedule == "halve" and batch == 0 and epochs % settings.evaluate_every == 0:
        loss = training_loss()
        if history.evaluations and loss > history.evaluations[-1][1]:
            optimizer.learning_rate /= 2
        history.evaluations.append((epochs, loss))
    if settings.lr_schedule == "half-epochs" and epochs >= settings.lr_decay_start:
        optimizer.learning_rate /= 2 ** ((batch == 0) + (batch == batches // 2))


def next_boundary(settings, batches):
    """The batch within an epoch before which `on_batch_start` must be called, besides the first."""
    return batches // 2 if settings.lr_schedule == "half-epochs" else 0


def on_epoch_end(settings, optimizer, history, validated):
    """Schedule "plateau": halve when the epochs' losses, by validation if there is one, have stopped to fall."""
    if settings.lr_schedule == "plateau":
        losses = history.validation_losses if validated else history.losses
        if _at_plateau(losses, settings.tol, settings.patience):
            optimizer.learning_rate /= 2


def _at_plateau(losses, tol, patience):
    """Whether after the last loss, counted from the last such moment, `patience` in a row were no improvement."""
    best, waited = math.inf, 0
    for loss in losses:
        if waited == patience:
            waited = 0
        if loss < best - tol:
            best, waited = loss, 0
        elif not math.isnan(loss):
            waited += 1
    return waited == patience
