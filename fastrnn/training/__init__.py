"""The training loop: optimisers, schedules, validation, checkpoints, history."""
