"""Small diffusion models: schedules, a UNet, guidance, a sampler, and training by denoising."""
