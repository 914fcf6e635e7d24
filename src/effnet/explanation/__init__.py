"""What an answer comes from: where in a picture a network found it, as maps over the picture."""
