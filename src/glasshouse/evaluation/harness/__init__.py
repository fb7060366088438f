"""lm-evaluation-harness: models of this house inside it (`model`), and its tasks inside this house (`tasks`)."""
