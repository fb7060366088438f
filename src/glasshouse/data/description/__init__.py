"""Looking at a corpus: what other thresholds would do, why a document went, its datasheet, its differences."""
