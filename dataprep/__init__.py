"""From a raw folder of pictures to a training-ready LoRA data set, and to the LoRA."""

__version__ = "0.1.0"
