"""What a run is on: devices, processes, compiled programs, files."""
