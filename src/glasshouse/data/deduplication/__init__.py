"""Finding what occurs twice: documents, addresses, paragraphs, n-grams, substrings; exactly or by Bloom filter."""
