"""Pages → clean documents: extraction, language, filters, dedup."""
