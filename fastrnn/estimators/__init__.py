"""The public classes, which check their input and delegate; warming up; loading models of any kind."""
