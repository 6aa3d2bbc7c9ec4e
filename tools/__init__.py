"""What developers of fimo_fast run by hand, before a release. Nothing of it is installed."""
