"""Text to mesh: cameras, a differentiable rasteriser, volume rendering, iso-surfaces, generators and files."""
