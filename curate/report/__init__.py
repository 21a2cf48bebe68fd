"""Pages that show what was found: self-contained HTML with pictures and plots."""
