"""From files to sentences, tokens and indices, and back."""
