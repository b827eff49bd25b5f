"""Read demonstrations and policies published by others, without running anything in their files."""
