"""What test_ptx.py and test_ptx_programs.py translate and run."""
