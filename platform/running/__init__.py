"""What a running sweep is made of: where events pass, how trials are placed and ended, what a person sees."""
