"""Fine-tuning and alignment: SFT, DPO, KTO, reward models, and RL by GRPO, RLOO and PPO."""
