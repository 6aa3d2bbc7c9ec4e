"""A roofline model of the CUDA kernels on an H100: predicts times from machine code and launches (README.md)."""
