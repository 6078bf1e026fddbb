"""What a .safetensors file names, holds and says of itself."""
