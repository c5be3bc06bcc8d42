"""The one training loop: optimizers, schedule, data, checkpoints."""
