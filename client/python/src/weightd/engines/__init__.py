"""Plugins for inference engines, which find them by themselves once the package is installed."""
