"""From a trained student to the agent bundle: an int8 TFLite flatbuffer, and proof that the firmware agrees with it."""
