"""Thresholds of spaces: edits of pictures, changed expressions, recall at a precision, and thresholds in words."""
