"""Results and benchmark data, as tables and pages."""
