"""Stage `decontaminate`: documents that hold test answers go."""
