"""Unlearning for image-to-image models (arXiv 2402.00351): the method, baselines, an audit, a certificate."""
