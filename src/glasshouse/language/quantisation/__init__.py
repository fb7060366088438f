"""Quantisation: weights of 2, 3, 4 or 8 bits by round-to-nearest or GPTQ, on our models and Hugging Face's."""
