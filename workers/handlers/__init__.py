"""Handlers of the gpu queue: they import torch."""
