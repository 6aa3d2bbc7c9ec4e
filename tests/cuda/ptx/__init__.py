"""From the PTX that nvcc emits to C++ that runs on the emulator's fibers. What is not understood is an error."""
