"""Side-by-side speed and memory: python -m benchmarks."""
