"""What fastrnn is compared with: the same networks in PyTorch, and the tutorial's in NumPy. PyTorch may be missing."""
