"""From a trained student to the agent bundle: int8 TFLite flatbuffer, proof that the firmware agrees with it, one file."""
