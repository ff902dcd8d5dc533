"""Tables, plots, report.html, and comparison of experiments."""
