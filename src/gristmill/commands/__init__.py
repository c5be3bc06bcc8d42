"""What the command line is made of: its groups, the stages' commands, the corpus commands, the settings' texts."""
