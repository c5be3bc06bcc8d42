"""Stage `redact`: personal data replaced by its kind."""
