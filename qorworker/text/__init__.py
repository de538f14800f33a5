"""Texts: cleaned, masked, made storable, and times as texts. Pure; all processes."""
