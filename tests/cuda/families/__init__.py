"""The cases of each family of kernels: a module `<family>.py` has a function ``cases()``, and is found by itself."""
