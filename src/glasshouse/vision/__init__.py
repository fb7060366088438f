"""Methods on pictures: diffusion, completion and unlearning, text to mesh, video."""
