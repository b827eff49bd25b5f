"""What is written to disk and read back: run folders, identities, files that survive a kill."""
