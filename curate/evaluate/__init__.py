"""The benchmark: five face tasks, full and few-shot."""
