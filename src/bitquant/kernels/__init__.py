"""Compiled loops over the bits of numbers. They know integers and buffers, and nothing else of bitquant."""
