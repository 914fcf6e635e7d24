"""The networks: pure torch, knowing nothing else of effnet but its errors."""
