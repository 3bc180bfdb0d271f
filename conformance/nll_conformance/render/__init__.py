"""Renderers of a report: terminal, JUnit, Markdown, badge."""
