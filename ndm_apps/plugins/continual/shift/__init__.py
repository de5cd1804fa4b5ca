"""Shift detection on curvature, and the charts that grow at alarms."""
