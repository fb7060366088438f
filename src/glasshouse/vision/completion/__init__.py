"""Models that complete images: masks, a masked auto-encoder, a VQ auto-encoder with a prior over codes, adapters."""
