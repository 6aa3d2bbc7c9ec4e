"""Per-example gradients of real networks: fimo_fast, torch and other libraries beside a training step."""
