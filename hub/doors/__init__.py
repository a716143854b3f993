"""Doors for machines: intake, health, metrics."""
