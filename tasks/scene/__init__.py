"""Scenes: the hand, the table arena, the objects, their textures and the backgrounds."""
