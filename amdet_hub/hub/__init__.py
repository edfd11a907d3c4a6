"""The only room that talks to the Hugging Face Hub, or to a folder in its place."""
