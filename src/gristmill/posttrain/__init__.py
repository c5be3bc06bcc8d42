"""Fine-tuning and alignment: SFT, reward model, GRPO."""
