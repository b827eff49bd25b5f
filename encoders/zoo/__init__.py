"""The built-in encoders by kind of network."""
