"""The application: extract, enrol, verify, identify, calibrate, from the command line."""
