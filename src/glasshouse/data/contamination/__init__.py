"""Finding evaluation data in a training corpus: exact n-grams, read-only indexes, a report for each set."""
