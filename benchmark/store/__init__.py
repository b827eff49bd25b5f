"""Files on disk: run folders, identities, and writes that survive a kill."""
