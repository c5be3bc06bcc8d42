"""What a run's training text is made of, from its counters alone: for people, and for programs."""
